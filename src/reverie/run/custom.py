"""What users may pass as environment: a task, a gymnasium id, an instance, a class, a factory."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import cloudpickle
import gymnasium

from reverie.config.errors import ConfigError
from reverie.config.schema import Config
from reverie.envs.registry import full_name
from reverie.run.identity import lost, tag
from reverie.run.source import CUSTOM, EnvSource

EnvLike = str | gymnasium.Env | Callable[[], gymnasium.Env]

_ONLY_ONE = "Pass a class or a function that makes environments."


@dataclasses.dataclass(frozen=True)
class Choice:
    """A resolved environment.

    Args:
        task: Task name for the configuration.
        factory: Makes an environment; None when the task says it all.
        example: An environment that is there already, to look at before any is made.
        limits: Options of `run` that this kind of environment dictates.
        note: What people should know about it.
    """

    task: str
    factory: Callable[[], gymnasium.Env] | None = None
    example: gymnasium.Env | None = None
    limits: dict[str, Any] = dataclasses.field(default_factory=dict)
    note: str = ""


def resolve(env: EnvLike) -> Choice:
    """Finds out what was passed as environment.

    An instance serves as a model: environments like it are made by `gymnasium.make`, or else by
    copying it. Where neither gives its like, it is used as it is, and then it is the only one: one
    environment, stepped in this process, and closed by whoever made it.

    Raises:
        TypeError: If it is none of the kinds.
    """
    if isinstance(env, str):
        return Choice(full_name(env))
    if isinstance(env, gymnasium.Env):
        return _instance(env)
    if callable(env):
        return Choice(f"{CUSTOM}_{tag(env)}", env)
    raise TypeError(
        f"An environment is a task name, a gymnasium id, a gymnasium.Env, its class or a function "
        f"that makes one; got {type(env).__name__}."
    )


def source(config: Config, choice: Choice) -> EnvSource:
    """Where the environments of a choice come from."""
    return EnvSource(config.task, config.env, choice.factory, choice.example, choice.note)


def limited(config: Config, choice: Choice) -> Config:
    """The configuration within the limits of a choice, which win over presets.

    Raises:
        ConfigError: If the user asked for something beyond them.
    """
    for name, value in choice.limits.items():
        key, asked = f"run.{name}", getattr(config.run, name)
        if config.sources.get(key) == "overrides" and asked not in (value, "auto"):
            raise ConfigError(f"{key} is {asked!r}, but has to be {value!r}: {choice.note}")
    if choice.limits and config.script == "train_eval":
        raise ConfigError(
            "script = train_eval evaluates during training, in environments of its own: "
            f"{choice.note} Or evaluate after training, with script train and run.final_eval_eps."
        )
    return config.model_copy(update={"run": config.run.model_copy(update=choice.limits)})


class Borrowed(gymnasium.Wrapper):
    """An environment that somebody else closes."""

    def close(self) -> None:
        """Leaves the environment open."""


def _instance(env: gymnasium.Env) -> Choice:
    name = type(env.unwrapped).__name__
    task, reasons = f"{CUSTOM}_{name}", []
    for how, make in _makers(env):
        try:
            with contextlib.closing(make()) as other:
                missing = lost(env, other)
        except Exception as error:
            reasons.append(f"{how} fails with {type(error).__name__}: {error}".rstrip("."))
            continue
        if not missing:
            note = f"The environment was passed as an instance of {name}; others are made by {how}."
            return Choice(task, make, Borrowed(env), note=note)
        reasons.append(f"{how} would lose what was set as {', '.join(missing)}")
    limits = {"envs": 1, "eval_envs": 1, "env_backend": "sync", "env_max_restarts": 0}
    note = (
        f"The instance of {name} that was passed is the only environment ({'; '.join(reasons)}). "
        + _ONLY_ONE
    )
    return Choice(task, functools.partial(Borrowed, env), Borrowed(env), limits, note)


def _makers(env: gymnasium.Env) -> list[tuple[str, Callable[[], gymnasium.Env]]]:
    """Ways to get an environment like this one, and their names; none has been tried."""
    makers: list[tuple[str, Callable[[], gymnasium.Env]]] = []
    spec = env.spec
    if spec is not None and all(each.kwargs is not None for each in spec.additional_wrappers):
        makers.append(("gymnasium.make", functools.partial(gymnasium.make, spec)))
    # Copying one that pickles its arguments is calling its constructor too.
    if not (makers and isinstance(env.unwrapped, gymnasium.utils.EzPickle)):
        makers.append(("copying it", _Copies(env)))
    return makers


class _Copies:
    """Makes copies of an environment as it was when the first one was asked for."""

    def __init__(self, env: gymnasium.Env):
        self._env: gymnasium.Env | None = env
        self._pickled = b""

    def __call__(self) -> gymnasium.Env:
        if not self._pickled:
            self._pickled = cloudpickle.dumps(self._env)
            self._env = None
        return cloudpickle.loads(self._pickled)
