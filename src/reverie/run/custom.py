"""What users may pass as environment: a task, a gymnasium id, an instance, a class, a factory."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import gymnasium

from reverie.config import Config, ConfigError
from reverie.envs import SUITES
from reverie.run.build import CUSTOM

EnvLike = str | gymnasium.Env | Callable[[], gymnasium.Env]


@dataclasses.dataclass(frozen=True)
class Choice:
    """A resolved environment.

    Args:
        task: Task name for the configuration.
        factory: Makes an environment; None when the task says it all.
        limits: Options of `run` that this kind of environment dictates.
    """

    task: str
    factory: Callable[[], gymnasium.Env] | None = None
    limits: dict[str, Any] = dataclasses.field(default_factory=dict)


def resolve(env: EnvLike) -> Choice:
    """Finds out what was passed as environment.

    An instance that was made by `gymnasium.make` is made anew as often as needed. Any other
    instance is used as it is, and then it is the only one: one training environment, stepped in
    this process, and closed by whoever made it.

    Raises:
        TypeError: If it is none of the kinds.
    """
    if isinstance(env, str):
        known = env.partition("_")[0] in SUITES
        is_id = env in gymnasium.registry or ":" in env
        return Choice(f"gym_{env}" if is_id and not known else env)
    if isinstance(env, gymnasium.Env):
        name = type(env.unwrapped).__name__
        if env.spec is not None:
            return Choice(f"{CUSTOM}_{name}", functools.partial(gymnasium.make, env.spec))
        # It cannot be built anew either.
        limits = {"envs": 1, "eval_envs": 1, "env_backend": "sync", "env_max_restarts": 0}
        return Choice(f"{CUSTOM}_{name}", lambda: Borrowed(env), limits)
    if callable(env):
        name = getattr(env, "__name__", type(env).__name__).strip("<>")
        return Choice(f"{CUSTOM}_{name}", env)
    raise TypeError(
        f"An environment is a task name, a gymnasium id, a gymnasium.Env, its class or a function "
        f"that makes one; got {type(env).__name__}."
    )


def limited(config: Config, choice: Choice) -> Config:
    """The configuration within the limits of a choice, which win over presets.

    Raises:
        ConfigError: If the user asked for something beyond them.
    """
    for name, value in choice.limits.items():
        key, asked = f"run.{name}", getattr(config.run, name)
        if config.sources.get(key) == "overrides" and asked not in (value, "auto"):
            raise ConfigError(
                f"{key} is {asked!r}, but an environment instance is the only one there is, so "
                f"that it has to be {value!r}. Pass a class or a function that makes environments."
            )
    return config.model_copy(update={"run": config.run.model_copy(update=choice.limits)})


class Borrowed(gymnasium.Wrapper):
    """An environment that somebody else closes."""

    def close(self) -> None:
        """Leaves the environment open."""
