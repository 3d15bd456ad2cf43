"""Times updates. Runs in the measured process."""

import pathlib
import statistics
import time
from typing import Any

import jax
from cases import TrainCase
from machine import peak_memory
from product import Product
from workload import Arrays, Workload, make_workload

from reverie.learner.placement.devices import configure
from reverie.run.allocator import keep_memory
from reverie.run.planning.flops import count_flops

WARMUP = 2
"""Updates that are not timed, after the first one."""

PRODUCTS = 15
"""Products that are timed where nothing else is."""

FOUND = "/jax/compilation_cache/cache_hits"
"""What JAX tells when a program need not be compiled."""

PEAK_SIDE = 8192
"""Side of the matrices that show what an accelerator can do in the compute dtype."""

Record = dict[str, Any]


def measure_first_update(case: TrainCase, scratch: pathlib.Path) -> Record:
    """Builds the agent and makes one update: compilation time and memory, nothing else."""
    work = make_workload(case.config(), case.obs, scratch)
    first = _issue_first(work, work.batch(0))
    _update(work, work.batch(1))
    return first | {"memory_bytes": peak_memory()}


def measure_train_step(case: TrainCase, scratch: pathlib.Path) -> Record:
    """Times blocking updates and, in between, products.

    Returns:
        Times in seconds, G in seconds, memory in bytes, FLOPs of one update.
    """
    work = make_workload(case.config(), case.obs, scratch)
    batches = [work.batch(seed) for seed in range(2)]
    flops = _flops(work, batches[0])  # Before all that would be for nothing if they are unknown.
    first = _issue_first(work, batches[0])
    device = work.learner.placement.training[0]
    product = Product(device)
    updates, products = _time_updates(work, batches, product, case.updates)
    # The memory comes before what follows, which no training needs.
    record = (
        _facts(work, device)
        | first
        | {
            "memory_bytes": peak_memory(),
            "device_memory_bytes": (device.memory_stats() or {}).get("peak_bytes_in_use"),
        }
    )
    record |= _rates(updates, products, product.flops, flops, _parallel(work, device))
    record["flops"] = flops
    if device.platform != "cpu":
        peak = Product(device, PEAK_SIDE, work.dtype)
        record["peak_flops_s"] = peak.flops / min(peak.seconds() for _ in range(5))
    return record


def measure_product(case: TrainCase, _: pathlib.Path) -> Record:
    """Times products alone, on the device that would train."""
    config = case.config()
    options = config.jax
    placement = configure(options.platform, devices=options.devices, batch_size=config.batch_size)
    product = Product(placement.training[0])
    return {"g_s": statistics.median(product.seconds() for _ in range(PRODUCTS))}


def _issue_first(work: Workload, batch: Arrays) -> Record:
    """Seconds until the first update is issued: tracing, and compiling or loading the program.

    And how many programs were found in the cache meanwhile. Then memory is kept as in a run.
    """
    events = []
    jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
    start = time.perf_counter()
    work.learner.prepare("train", batch)
    outputs = work.learner.update(batch)
    seconds, found = time.perf_counter() - start, events.count(FOUND)
    jax.block_until_ready((outputs, work.learner.state))
    if needs := work.learner.memory_needs().get("train"):
        keep_memory(needs)
    return {"compile_s": seconds, "programs_found": found}


def _update(work: Workload, batch: Arrays) -> float:
    """Seconds of one update, waited for."""
    start = time.perf_counter()
    outputs = work.learner.update(batch)
    jax.block_until_ready((outputs, work.learner.state))
    return time.perf_counter() - start


def _time_updates(
    work: Workload, batches: list[Arrays], product: Product, count: int
) -> tuple[list[float], list[float]]:
    for i in range(WARMUP):
        _update(work, batches[i % len(batches)])
    updates, products = [], []
    for i in range(count):
        updates.append(_update(work, batches[i % len(batches)]))
        products += [product.seconds(), product.seconds()]
    work.learner.synchronize()
    return updates, products


def _facts(work: Workload, device: Any) -> Record:
    config = work.config
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(work.learner.state.params)),
        "dtype": work.dtype,
        "platform": device.platform,
        "device": device.device_kind,
        "devices": [device.id for device in work.learner.placement.training],
        "batch_size": config.batch_size,
        "batch_length": config.batch_length,
        "context": config.replay_context,
    }


def _parallel(work: Workload, device: Any) -> int:
    """How many times the rate of one product is there; CPU devices share their cores."""
    return 1 if device.platform == "cpu" else len(work.learner.placement.training)


def _rates(
    updates: list[float], products: list[float], unit: int, flops: int, parallel: int
) -> Record:
    seconds, g = statistics.median(updates), statistics.median(products)
    limit = flops / unit / parallel
    return {
        "updates": len(updates),
        "g_s": g,
        "g_min_s": min(products),
        "update_s": seconds,
        "update_min_s": min(updates),
        "update_g": seconds / g,
        "limit_g": limit,
        "share": limit * g / seconds,
        "flops_s": flops / seconds,
    }


def _flops(work: Workload, batch: Arrays) -> int:
    """Operations of one update."""
    agent = work.learner.agent
    key = jax.random.key(0)
    state = jax.eval_shape(agent.init, key)
    carry = agent.init_carry(work.config.batch_size)
    return count_flops(agent.train, state, carry, batch, key)
