"""Runs updates of the real agent on some simulated devices, for `test_several_devices`.

Usage: python several_devices.py COUNT SHARDS FOLDER REPORT [COORDINATOR PROCESSES PROCESS]. Trains
on so many devices of each process and writes `arrays.npz` and `facts.json` to the folder; those of
a report too, unless REPORT is empty.
"""

import itertools
import json
import pathlib
import sys

import jax
import numpy as np

from reverie.agent.agent import Agent
from reverie.config.load import load
from reverie.learner.checkpoints.tree import flatten
from reverie.learner.learner import Learner
from reverie.learner.placement.devices import configure
from reverie.learner.placement.hosts import connect
from reverie.spaces import Space

OBS = {
    "image": Space("image", (16, 16, 3), "uint8"),
    "vector": Space("continuous", (5,), "float32"),
}
ACT = {
    "jump": Space("discrete", (), "int32", (4,)),
    "move": Space("continuous", (2,), "float32"),
}
B, T, UPDATES = 8, 6, 3
FLAGS = [
    "--configs", "debug",
    r"--.*\.mults", "2,4",
    "--agent.imag_last", "4",
    "--agent.advnorm.impl", "meanstd",
    "--agent.advnorm.debias", "true",
    "--agent.opt.warmup", "0",
    "--agent.opt.eps", "0.01",
]  # fmt: skip


def make_batch(agent: Agent, seed: int) -> dict[str, np.ndarray]:
    """Made-up sequences, the second one with two episodes."""
    rng, batch = np.random.default_rng(seed), {}
    for key, space in {**OBS, **ACT}.items():
        shape = (B, T + 1, *space.shape)
        if space.kind == "continuous":
            batch[key] = rng.normal(size=shape).astype(np.float32)
        else:
            high = 256 if space.kind == "image" else space.classes[0]
            batch[key] = rng.integers(0, high, shape).astype(space.dtype)
    batch |= {k: np.zeros((B, T + 1), bool) for k in ("is_first", "is_last", "is_terminal")}
    batch["is_last"][1, 2] = batch["is_terminal"][1, 2] = batch["is_first"][1, 3] = True
    batch["reward"] = rng.normal(size=(B, T + 1)).astype(np.float32)
    batch["consec"] = np.zeros(B, np.int32)
    return batch | {k: s.zeros(B, 1) for k, s in agent.latent_spaces.items()}


def disturbed(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Networks as after some training, in which rounding errors stay small.

    No head is zero, where advantages would be rounding errors alone. Far bins of rewards and
    values are unlikely: a prediction would else be a small difference of numbers up to 5e8.
    """
    rng, networks = np.random.default_rng(0), {}
    for name, value in arrays.items():
        if name.startswith(("params/", "states/actor_critic/slow/")):
            networks[name] = value + 0.05 * rng.normal(size=value.shape)
            if value.shape == (255,):
                networks[name] -= 2 * np.abs(np.linspace(-20, 20, 255))
    return networks


def main(count: int, shards: int, folder: pathlib.Path, report: str, *found: str) -> None:
    coordinator, processes, process = found or ("", 1, 0)
    hosts = connect(coordinator, int(processes), int(process), 200)
    placement = configure(
        "cpu",
        devices=range(count),
        policy_device=4,
        mock_devices=5,
        shards=shards,
        cache_dir="off",
        hosts=hosts,
    )
    agent = Agent(load(FLAGS).agent, OBS, ACT)
    learner = Learner(agent, placement=placement, seed=3, fast_compile=True)
    learner.load(disturbed(learner.arrays()))
    rows = slice(B // hosts.count * hosts.index, B // hosts.count * (hosts.index + 1))
    batches = [{k: x[rows] for k, x in make_batch(agent, i).items()} for i in range(UPDATES)]

    arrays = {}
    for i, batch in enumerate(batches):
        out = learner.update(batch)
        arrays |= {f"{i}/state/{k}": v for k, v in learner.arrays().items()}
        arrays |= {f"{i}/out/{k}": v for k, v in out.latents.items()}
        arrays[f"{i}/out/priority"] = out.priority
        named = zip(flatten(learner.shapes.params), learner.acting(newest=True).leaves, strict=True)
        arrays |= {f"{i}/acting/{k}": v for k, v in named}
        (metrics,) = learner.pop_metrics()
        arrays |= {f"{i}/metric/{k}": np.float64(v) for k, v in metrics.items()}
    if report:
        results = learner.report(batches[0])
        arrays |= {f"report/{k}": v for k, v in results.items() if np.ndim(v)}
    np.savez(folder / "arrays.npz", **jax.device_get(arrays))
    program = learner._compiler.get(learner._programs["train"], batches[0])
    held = itertools.chain.from_iterable(
        x.addressable_shards for x in jax.tree.leaves(learner.state)
    )
    facts = {
        "program": program.as_text(),
        "flops": program.cost_analysis()["flops"],
        "rows": [shard.data.shape[0] for shard in out.priority.addressable_shards],
        "policy": placement.policy.id,
        "home": sum(x.data.nbytes for x in held if x.device == placement.here[0]),
        "state": learner.nbytes,
    }
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    count, shards, folder, report, *found = sys.argv[1:]
    main(int(count), int(shards), pathlib.Path(folder), report, *found)
