"""What users may pass as environment: a task, a gymnasium id, an instance, a class, a factory."""

import contextlib
import functools
import sys
from collections.abc import Callable

import cloudpickle
import gymnasium

from reverie.config.schema import Config
from reverie.envs.registry import full_name
from reverie.envs.wrappers import require_env
from reverie.errors import ConfigError
from reverie.run.environments.identity import lost, tag
from reverie.run.environments.source import CUSTOM, EnvSource

Maker = Callable[[], gymnasium.Env]
EnvLike = str | gymnasium.Env | Maker


def resolve(env: EnvLike) -> EnvSource:
    """Where the environments come from that were passed, with default settings of their suite.

    An instance serves as a model: environments like it are made by `gymnasium.make`, or else by
    copying it. Where neither gives its like, it is used as it is, and then it is the only one: one
    environment, stepped in this process, and closed by whoever made it.

    Raises:
        TypeError: If it is none of the kinds, such as a vector of environments.
    """
    if isinstance(env, str):
        return EnvSource(full_name(env))
    if script := sys.modules.get("__mp_main__"):
        # What multiprocessing has spawned knows its script by a name that no process of ours does.
        cloudpickle.register_pickle_by_value(script)
    if isinstance(env, gymnasium.Env):
        return _instance(env)
    if callable(env):
        return EnvSource(f"{CUSTOM}_{tag(env)}", custom=env)
    if hasattr(env, "step"):
        require_env(env)
    raise TypeError(
        f"An environment is a task name, a gymnasium id, a gymnasium.Env, its class or a function "
        f"that makes one; got {type(env).__name__}."
    )


def limited(config: Config, source: EnvSource) -> Config:
    """The configuration within the limits of environments, which win over presets.

    Raises:
        ConfigError: If the user asked for something beyond them, or for arguments that
            nothing takes.
    """
    kwargs = config.env.gym.kwargs
    if source.custom and kwargs and config.sources.get("env.gym.kwargs") == "overrides":
        raise ConfigError(
            f"env.gym.kwargs is {kwargs}, but an environment that is passed is made as it is. Pass "
            "it with its arguments, such as functools.partial(MyEnv, size=3)."
        )
    for name, value in source.limits.items():
        key, asked = f"run.{name}", getattr(config.run, name)
        if config.sources.get(key) == "overrides" and asked not in (value, "auto"):
            raise ConfigError(f"{key} is {asked!r}, but has to be {value!r}: {source.note}")
    if source.limits and config.script == "train_eval":
        raise ConfigError(
            "script = train_eval evaluates during training, in environments of its own: "
            f"{source.note} Or evaluate after training, with script train and run.final_eval_eps."
        )
    return config.model_copy(update={"run": config.run.model_copy(update=source.limits)})


class Borrowed(gymnasium.Wrapper):
    """An environment that somebody else closes."""

    def close(self) -> None:
        """Leaves the environment open."""


def _instance(env: gymnasium.Env) -> EnvSource:
    name = type(env.unwrapped).__name__
    task, reasons = f"{CUSTOM}_{name}", []
    for how, prepare in _makers(env):
        try:
            make = prepare()
            with contextlib.closing(make()) as other:
                missing = lost(env, other)
        except Exception as error:
            reasons.append(f"{how} fails with {type(error).__name__}: {error}".rstrip("."))
            continue
        if not missing:
            note = f"The environment was passed as an instance of {name}; others are made by {how}."
            return EnvSource(task, custom=make, example=Borrowed(env), note=note)
        reasons.append(f"{how} would lose what was set as {', '.join(missing)}")
    limits = {"envs": 1, "eval_envs": 1, "env_backend": "sync", "env_max_restarts": 0}
    note = (
        f"The instance of {name} that was passed is the only environment ({'; '.join(reasons)}). "
        "Pass a class or a function that makes environments."
    )
    only = functools.partial(Borrowed, env)
    return EnvSource(task, custom=only, example=Borrowed(env), limits=limits, note=note)


def _makers(env: gymnasium.Env) -> list[tuple[str, Callable[[], Maker]]]:
    """What gives makers of environments like this one, and their names; none has been tried."""
    makers: list[tuple[str, Callable[[], Maker]]] = []
    spec = env.spec
    if spec is not None and all(each.kwargs is not None for each in spec.additional_wrappers):
        makers.append(("gymnasium.make", lambda: functools.partial(gymnasium.make, spec)))
    # Copying one that pickles its arguments is calling its constructor too.
    if not (makers and isinstance(env.unwrapped, gymnasium.utils.EzPickle)):
        makers.append(
            ("copying it", lambda: functools.partial(cloudpickle.loads, cloudpickle.dumps(env)))
        )
    return makers
