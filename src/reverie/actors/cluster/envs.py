"""The environments of an actor, made where it runs."""

from collections.abc import Callable, Sequence
from typing import Any

from reverie.envs.vector.batched import BatchedVectorEnv
from reverie.envs.vector.vector import Factory, VectorEnv


def open_envs(
    factories: Sequence[Factory],
    engine: Callable[..., BatchedVectorEnv | None] | None,
    options: dict[str, Any],
    seed: int,
) -> VectorEnv:
    """Makes them.

    Args:
        factories: One for each environment.
        engine: Makes all of them together from `seed`, or None where there is no such form.
        options: Of `VectorEnv`.
        seed: Of the first episodes.
    """
    found = engine(seed=seed) if engine else None
    return VectorEnv(factories, seeds=seed, engine=found, **options)
