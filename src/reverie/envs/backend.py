"""Whether environments step in this process or in processes of their own."""

import os
import pickle
import time
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle
import gymnasium
import numpy as np

from reverie.envs.masks import RandomPlay
from reverie.envs.wrappers import wrap

MEASURE_SECONDS = 0.3
MEASURE_STEPS = 200

PROCESS_COST = 30e-6
"""Seconds of processor time that a step in another process adds, measured with 16 workers."""

WORTHWHILE = 0.8
"""Processes cost memory and start-up time, so they must promise at least a fifth less time."""


def choose(factories: Sequence[Callable[[], gymnasium.Env]], backend: str) -> tuple[str, str]:
    """Resolves `auto`.

    Args:
        factories: The environments of the run; the first is built, stepped and closed.
        backend: `sync`, `async` or `auto`.

    Returns:
        `sync` or `async`, and the reason as a sentence.

    Raises:
        ValueError: An unknown backend, `native`, or `async` with a factory that cannot be pickled.
    """
    if backend == "native":
        raise ValueError(
            "backend='native': these environments have no engine that steps them together. "
            "Choose 'auto', 'sync' or 'async'."
        )
    if backend not in ("auto", "sync", "async"):
        raise ValueError(f"backend={backend!r}: choose 'auto', 'sync', 'async' or 'native'.")
    if backend == "sync":
        return "sync", "run.env_backend says so."
    problem = _pickle_problem(factories[0])
    if backend == "async":
        if problem:
            raise ValueError(
                f"backend='async' sends the environment factories to other processes, but "
                f"{problem}. Build everything inside the factory, or use backend='sync'."
            )
        return "async", "run.env_backend says so."
    if problem:
        return "sync", f"{problem}."
    used = min(cores(), len(factories))
    if used == 1:
        return "sync", "there is one environment or one processor core."
    seconds = step_seconds(factories[0])
    apart = (seconds + PROCESS_COST) / used
    found = f"a step takes {seconds * 1e6:.0f} us here and would take {apart * 1e6:.0f} us"
    if apart < WORTHWHILE * seconds:
        return "async", f"{found} spread over processes on {used} cores."
    return "sync", f"{found} over processes on {used} cores, which does not pay."


def step_seconds(factory: Callable[[], gymnasium.Env]) -> float:
    """Seconds per step of one environment with random actions, its resets included."""
    env = wrap(factory())
    try:
        choose_action = RandomPlay(env, MEASURE_STEPS)
        obs, _ = env.reset(seed=0)
        # The first step pays for compilation and caches.
        obs, over = _step(env, choose_action(0, obs))
        steps, start = 0, time.perf_counter()
        while steps < MEASURE_STEPS and time.perf_counter() - start < MEASURE_SECONDS:
            if over:
                obs, _ = env.reset()
            obs, over = _step(env, choose_action(steps, obs))
            steps += 1
        return (time.perf_counter() - start) / steps
    finally:
        env.close()


def _step(env: gymnasium.Env, action: dict[str, np.ndarray]) -> tuple[dict[str, Any], bool]:
    obs, _, terminated, truncated, _ = env.step(action)
    return obs, terminated or truncated


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _pickle_problem(factory: Callable[[], gymnasium.Env]) -> str:
    try:
        cloudpickle.dumps(factory)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
        return f"the factory {factory!r} cannot be pickled ({error})"
    return ""
