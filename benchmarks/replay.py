"""Speed and memory of replay, beside what the memory of this machine can do at all.

    python benchmarks/replay.py [--steps 50000] [--seconds 4] [--json]
    python benchmarks/replay.py --disk FOLDER --ram-gb 2 --steps 1000000
    python benchmarks/replay.py --disk FOLDER --frames crafter_reward [--compress] --steps 60000

Steps hold 64x64x3 uint8 images, an action, reward, flags and size1m latents (deter 512, stoch 32);
batches are 16 sequences of 65 steps. The calibration copies a batch's bytes from one array to
another (`memcpy`) and writes memory that the process touches for the first time (`first touch`),
which a replay that is still growing has to do in the worst case. Names ending in `_s` are
per second, or seconds for `save_s` and `load_s`; those of `memcpy`, plans and batches come from
medians of processor time, so that other programs on the core are not measured.
`rss_bytes_per_step` is resident memory with the half-empty newest chunks, a few MB per environment
whatever the number of steps.

With `--disk` the steps live in files in FOLDER, which is deleted afterwards, and twice the capacity
passes through while batches are drawn and latents written back. `rss_peak_GB` is the largest
resident memory above what the process had before; `latents_written_B_per_B` is how many bytes
reached the disk per byte of latents that updates wrote; `file_bytes_per_step` is the size of all
files after a save. `--frames` takes the images from random play of a task with 64x64x3 images, in
their order, because random ones say nothing about compression.
"""

import argparse
import functools
import json
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable

import numpy as np
import psutil

from reverie.envs import registry
from reverie.replay.batches import Batches
from reverie.replay.files.storage import DiskStorage
from reverie.replay.replay import Replay
from reverie.spaces import Space

ENVS = 16
BATCH = 16
LENGTH = 65
FRAMES = 512
LATENTS = ("latent/deter", "latent/stoch")


def spaces(deter: str) -> dict[str, Space]:
    return {
        "image": Space("image", (64, 64, 3), "uint8"),
        "action": Space("discrete", (), "int32", (17,)),
        "latent/deter": Space("continuous", (512,), deter),
        "latent/stoch": Space("discrete", (32,), "uint8", (4,) * 32),
    }


def transition(replay: Replay, seed: int) -> dict[str, np.ndarray]:
    """A step of all environments, `[1, ENVS, *shape]` per key."""
    rng = np.random.default_rng(seed)
    shapes = replay.layout.specs.items()
    return {k: rng.integers(0, 2, (1, ENVS, *shape)).astype(dtype) for k, (dtype, shape) in shapes}


def play(task: str) -> np.ndarray:
    """Consecutive images `[FRAMES, 64, 64, 3]` of a task under random actions."""
    env = registry.make(task)
    env.action_space.seed(0)
    obs, _ = env.reset(seed=0)
    images = []
    while len(images) < FRAMES:
        images.append(obs["image"])
        obs, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            obs, _ = env.reset()
    env.close()
    return np.ascontiguousarray(np.stack(images))


def rate(function: Callable[[], object], seconds: float) -> float:
    """Calls per second, after one call to warm up."""
    function()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        function()
        count += 1
    return count / (time.perf_counter() - start)


def median(function: Callable[[], object], seconds: float) -> float:
    """Seconds of processor time of a call."""
    function()
    times: list[float] = []
    while sum(times) < seconds:
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return float(np.median(times))


def calibrate(seconds: float) -> dict[str, float]:
    size = BATCH * LENGTH * 64 * 64 * 3
    # Sources beyond the caches, as replay's chunks are.
    source = [np.full(size, i, np.uint8) for i in range(20)]
    target = np.zeros(size, np.uint8)
    counter = iter(range(1 << 60))

    def copy():
        np.copyto(target, source[next(counter) % len(source)])

    copies = 1 / median(copy, seconds)
    blocks = []
    start = time.perf_counter()
    for _ in range(40):
        blocks.append(np.empty(size, np.uint8))
        blocks[-1][:] = source[0]
    fresh = 40 * size / (time.perf_counter() - start)
    return {
        "memcpy_GB_s": copies * size / 1e9,
        "memcpy_batches_s": copies,
        "first_touch_GB_s": fresh / 1e9,
    }


def measure(steps: int, seconds: float, deter: str) -> dict[str, float]:
    process = psutil.Process()
    before = process.memory_info().rss
    replay = Replay(spaces(deter), length=LENGTH, capacity=steps, latents=LATENTS, seed=0)
    inputs = [transition(replay, seed) for seed in range(20)]
    results: dict[str, float] = {}

    def fill(count: int) -> float:
        start = time.perf_counter()
        for i in range(count):
            replay.add(inputs[i % len(inputs)], range(ENVS))
        return count * ENVS / (time.perf_counter() - start)

    results["adds_s_growing"] = fill(-(-steps // ENVS))
    rss = (process.memory_info().rss - before) / steps
    results["rss_bytes_per_step"] = rss
    results["bytes_per_step"] = replay.stats()["bytes_per_step"]
    results["adds_s_full"] = fill(steps // ENVS)
    while replay.stats()["online_queue"]:
        replay.plan(BATCH)
    results["plans_s"] = 1 / median(lambda: replay.plan(BATCH), seconds / 5)
    results["batches_s"] = 1 / median(lambda: replay.gather(replay.plan(BATCH)), seconds)
    _, ids = replay.gather(replay.plan(BATCH))
    fresh = fresh_latents(replay)
    results["latent_updates_s"] = rate(lambda: write_back(replay, ids, fresh), seconds / 5)
    with Batches(replay, batch_size=BATCH, batch_length=LENGTH - 1) as stream:
        results["stream_batches_s"] = rate(stream.next, seconds)
    results |= measure_saving(replay, deter)
    replay.close()
    return results


def measure_disk(
    folder: str, ram_gb: float, steps: int, deter: str, task: str, compress: bool
) -> dict[str, float]:
    """Passes twice the capacity through a replay on disk, then saves and loads it."""
    process, ram = psutil.Process(), int(ram_gb * 1e9)
    storage = functools.partial(DiskStorage, folder=folder, ram=ram, compress=compress)
    settings = {"length": LENGTH, "capacity": steps, "latents": LATENTS, "storage": storage}
    replay = Replay(spaces(deter), **settings)
    inputs = [transition(replay, seed) for seed in range(20)]
    images = play(task) if task else None
    before, peak, results = process.memory_info().rss, 0, {}
    start, added = time.perf_counter(), 0
    for i in range(2 * steps // ENVS):
        step = inputs[i % len(inputs)]
        if images is not None:
            # Every environment is at another place of the same play.
            places = i + np.arange(ENVS) * (FRAMES // ENVS)
            step = {**step, "image": images[places % FRAMES][None]}
        begun = time.perf_counter()
        replay.add(step, range(ENVS))
        added += time.perf_counter() - begun
        if i % 100 == 99:
            _, ids = replay.gather(replay.plan(BATCH))
            write_back(replay, ids, fresh_latents(replay))
            peak = max(peak, process.memory_info().rss - before)
    results["adds_s"] = 2 * steps / added
    results["passed_s"] = 2 * steps / (time.perf_counter() - start)
    start = time.perf_counter()
    saving = replay.save(folder)
    results["save_pause_ms"] = 1000 * (time.perf_counter() - start)
    saving.wait()
    results["save_s"] = time.perf_counter() - start
    files = sum(path.stat().st_size for path in pathlib.Path(folder).iterdir())
    results["file_bytes_per_step"] = files / replay.stats()["steps"]
    results["batches_s"] = rate(lambda: replay.gather(replay.plan(BATCH)), 4.0)
    results |= measure_write_back(replay)
    results["rss_peak_GB"] = max(peak, process.memory_info().rss - before) / 1e9
    results |= {key: replay.stats()[key] for key in ("steps", "ram_bytes", "disk_bytes")}
    replay.close()
    replay = Replay(spaces(deter), **settings)
    start = time.perf_counter()
    assert replay.load(folder).steps == results["steps"]
    results["load_s"] = time.perf_counter() - start
    start = time.perf_counter()
    replay.gather(replay.plan(BATCH))
    results["first_batch_after_load_s"] = time.perf_counter() - start
    replay.close()
    return results


def measure_write_back(replay: Replay, updates: int = 500) -> dict[str, float]:
    """How much of the latents that updates write reaches the disk within some time."""
    fresh = fresh_latents(replay)
    os.sync()
    before, start = written(), time.perf_counter()
    for _ in range(updates):
        _, ids = replay.gather(replay.plan(BATCH))
        write_back(replay, ids, fresh)
    taken = time.perf_counter() - start
    total = updates * sum(array.nbytes for array in fresh.values())
    return {"updates_s": updates / taken, "latents_written_B_per_B": (written() - before) / total}


def write_back(replay: Replay, ids: np.ndarray, latents: dict, priority: object = None) -> None:
    target = replay.locate(ids)
    replay.write(target, latents)
    if priority is not None:
        replay.prioritize(target, priority)


def fresh_latents(replay: Replay) -> dict[str, np.ndarray]:
    specs = replay.layout.specs
    return {k: np.zeros((BATCH, LENGTH, *specs[k][1]), specs[k][0]) for k in LATENTS}


def written() -> int:
    """Bytes that this process has made the system write to a disk, now or later."""
    return psutil.Process().io_counters().write_bytes


def measure_saving(replay: Replay, deter: str) -> dict[str, float]:
    """Seconds that the loop waits for a save, that it takes, and that loading takes."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        saving = replay.save(folder)
        pause = time.perf_counter() - start
        saving.wait()
        saved = time.perf_counter() - start
        settings = {"length": LENGTH, "capacity": replay.capacity, "latents": LATENTS}
        other = Replay(spaces(deter), **settings)
        start = time.perf_counter()
        loaded = other.load(folder)
        assert loaded.steps == replay.stats()["steps"]
        seconds = time.perf_counter() - start
        other.close()
    return {"save_pause_ms": 1000 * pause, "save_s": saved, "load_s": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed and memory of replay.")
    parser.add_argument("--steps", type=int, default=50_000, help="capacity that is filled")
    parser.add_argument("--seconds", type=float, default=4.0, help="per measurement")
    parser.add_argument("--deter", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--disk", default="", help="new folder for a replay on disk")
    parser.add_argument("--ram-gb", type=float, default=2.0, help="memory of a replay on disk")
    parser.add_argument("--frames", default="", help="task whose images a replay on disk holds")
    parser.add_argument("--compress", action="store_true", help="images of a replay on disk")
    args = parser.parse_args()
    results = {"steps": args.steps, "cores": os.cpu_count() or 0}
    results |= calibrate(args.seconds / 4)
    if args.disk:
        os.makedirs(args.disk)
        try:
            results |= measure_disk(
                args.disk, args.ram_gb, args.steps, args.deter, args.frames, args.compress
            )
        finally:
            shutil.rmtree(args.disk)
    else:
        results |= measure(args.steps, args.seconds, args.deter)
    if args.json:
        print(json.dumps(results))
        return
    for name, value in results.items():
        print(f"{name:20} {value:14,.2f}")


if __name__ == "__main__":
    main()
