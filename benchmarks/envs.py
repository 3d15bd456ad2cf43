"""Speed of stepping many environments, beside gymnasium's vectors and the bare environments.

    python benchmarks/envs.py [--envs 1 4 16 64] [--seconds 0.3] [--rounds 15] [--json]
    python benchmarks/envs.py --atari [--envs 16]

The environments cost next to nothing and observe 64x64x3 bytes, so what is measured is the
stepping. Every row is in environment steps per second; the contenders take turns, and the median of
their rounds counts.

- `bare`: the environments in a loop, no vector.
- `gymnasium_sync`, `gymnasium_async`: gymnasium's own vectors (the latter with shared memory).
- `gymnasium_sync_wrapped`: the same with the wrappers and checks that environments have in a run.
- `sync`, `async`: the driver as in a run: wrappers, checks, transitions.
- `actor`: the random actor alone, which chooses the actions of all vectors.
- `sync_added`, `async_added`: the driver's time per step over that of gymnasium's own vector, less
  one: over `gymnasium_sync_wrapped` and over `gymnasium_async`. Medians of the rounds' ratios.
- `stall_ms`: the longest step after a pause of the caller of one second, of several.

With `--atari`: Pong in one process each through the driver, and in `ale_py.AtariVectorEnv` alone;
both with the resize `area`, the only one that ALE's engine has.
"""

import argparse
import functools
import json
import os
import statistics
import time
from collections.abc import Callable

import gymnasium
import numpy as np
from gymnasium import spaces as gs
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from reverie.actors.host import HostCollector
from reverie.actors.random_policy import RandomPolicy
from reverie.config.load import load
from reverie.envs import wrappers
from reverie.envs.vector.vector import VectorEnv
from reverie.run.parts import build
from reverie.spaces import Space

LENGTH = 1000
ACTIONS = Space("discrete", (), "int32", (5,))

Step = Callable[[], object]
Contender = tuple[Step, Callable[[], object]]
"""A vector step, and what closes the environments."""


class Still(gymnasium.Env):
    """Shows an image and ends after 1,000 steps."""

    observation_space = gs.Dict({"image": gs.Box(0, 255, (64, 64, 3), np.uint8)})
    action_space = gs.Discrete(5)

    def __init__(self):
        self._obs = {"image": np.zeros((64, 64, 3), np.uint8)}
        self._time = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._time = 0
        return self._obs, {}

    def step(self, action):
        self._time += 1
        return self._obs, 1.0, self._time >= LENGTH, False, {}


def bare(count: int) -> Contender:
    made = [Still() for _ in range(count)]
    for env in made:
        env.reset()

    def step():
        for env in made:
            if env.step(0)[2]:
                env.reset()

    return step, lambda: None


def gymnasium_vector(kind: type, count: int, wrap: bool = False) -> Contender:
    make = _wrapped if wrap else Still
    vector = kind([make] * count, autoreset_mode=AutoresetMode.NEXT_STEP)
    vector.reset(seed=0)
    act = actor(count)[0]

    def step():
        actions = act()
        vector.step(actions if wrap else actions["action"])

    return step, vector.close


def actor(count: int) -> Contender:
    chooser, flags = RandomPolicy({"action": ACTIONS}, 0), {"is_first": np.zeros(count, bool)}
    return lambda: chooser.act(None, flags)[1], lambda: None


def driver(vector: VectorEnv) -> Contender:
    return HostCollector(vector, RandomPolicy(vector.act_space, 0)).collect, vector.close


def dummies(backend: str, count: int) -> Contender:
    vector = VectorEnv([Still] * count, backend, seeds=0, timeout=300.0)
    return driver(vector)


def _wrapped() -> gymnasium.Env:
    return wrappers.wrap(Still())


def measure(
    contenders: dict[str, Contender], count: int, seconds: float, rounds: int
) -> dict[str, list[float]]:
    """Environment steps per second of each in every round, in turns."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for step, _ in contenders.values():
        for _ in range(20):
            step()
    for _ in range(rounds):
        for name, (step, _) in contenders.items():
            rates[name].append(count * rate(step, seconds))
    return rates


def medians(rates: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(found) for name, found in rates.items()}


def ratio(one: list[float], other: list[float]) -> float:
    """Median of the ratios within the rounds, which a busy machine disturbs less."""
    return statistics.median(x / y for x, y in zip(one, other, strict=True))


def rate(step: Step, seconds: float) -> float:
    steps, start = 0, time.perf_counter()
    while (now := time.perf_counter()) - start < seconds:
        step()
        steps += 1
    return steps / (now - start)


def stall(step: Step, pauses: int) -> float:
    """Longest of several steps after a pause, in milliseconds."""
    longest = 0.0
    for _ in range(pauses):
        time.sleep(1)
        start = time.perf_counter()
        step()
        longest = max(longest, time.perf_counter() - start)
    return 1000 * longest


def compare(count: int, seconds: float, rounds: int, pauses: int) -> dict:
    """All contenders with dummy environments."""
    contenders = {
        "bare": bare(count),
        "actor": actor(count),
        "gymnasium_sync": gymnasium_vector(SyncVectorEnv, count),
        "gymnasium_sync_wrapped": gymnasium_vector(SyncVectorEnv, count, wrap=True),
        "gymnasium_async": gymnasium_vector(AsyncVectorEnv, count),
        "sync": dummies("sync", count),
        "async": dummies("async", count),
    }
    try:
        found = measure(contenders, count, seconds, rounds)
        pausing = ("gymnasium_async", "sync", "async")
        stalls = {name: stall(contenders[name][0], pauses) for name in pausing}
    finally:
        for _, close in contenders.values():
            close()
    return {
        "envs": count,
        "steps_s": medians(found),
        "sync_added": ratio(found["gymnasium_sync_wrapped"], found["sync"]) - 1,
        "async_added": ratio(found["gymnasium_async"], found["async"]) - 1,
        "stall_ms": stalls,
    }


def atari(count: int, seconds: float, rounds: int) -> dict:
    """Pong in processes, and ALE's engine alone."""
    contenders = {"async": _atari_driver(count), "ale_py": _ale(count)}
    try:
        found = measure(contenders, count, seconds, rounds)
    finally:
        for _, close in contenders.values():
            close()
    over = {name: ratio(rates, found["async"]) for name, rates in found.items()}
    return {"envs": count, "steps_s": medians(found), "over_async": over}


def _atari_driver(count: int) -> Contender:
    words = ["--task", "atari_pong", "--run.env_backend", "async", "--run.envs", str(count)]
    words += ["--env.atari.resize", "area"]
    settings = load(words)
    source = build.EnvSource(settings.task, settings.env)
    return driver(build.vector_env(source, settings.run, seed=0))


def _ale(count: int) -> Contender:
    """The engine without the driver."""
    from ale_py.vector_env import AtariVectorEnv

    vector = AtariVectorEnv(
        "pong",
        num_envs=count,
        img_height=96,
        img_width=96,
        stack_num=1,
        grayscale=True,
        frameskip=4,
        repeat_action_probability=0.25,
        full_action_space=True,
        noop_max=30,
        reward_clipping=False,
        use_fire_reset=False,
        autoreset_mode=AutoresetMode.NEXT_STEP,
    )
    vector.reset(seed=0)
    draw = functools.partial(np.random.default_rng(0).integers, 18, size=count)
    return lambda: vector.step(draw()), vector.close


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of stepping many environments.")
    parser.add_argument("--envs", type=int, nargs="+", default=None)
    parser.add_argument("--seconds", type=float, default=0.3, help="per contender and round")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--pauses", type=int, default=5, help="number of pauses of a second")
    parser.add_argument("--atari", action="store_true", help="measure Pong instead")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    if args.atari:
        measured = [atari(n, args.seconds, args.rounds) for n in args.envs or [16]]
    else:
        counts = args.envs or [1, 4, 16, 64]
        measured = [compare(n, args.seconds, args.rounds, args.pauses) for n in counts]
    if args.json:
        print(json.dumps({"cores": cores, "rows": measured}))
        return
    print(f"{cores} cores")
    for row in measured:
        for name, value in row.items():
            if not isinstance(value, dict):
                print(f"{name:24} {value:12,.2f}")
                continue
            for part, number in value.items():
                print(f"{name:14} {part:24} {number:12,.2f}")


if __name__ == "__main__":
    main()
