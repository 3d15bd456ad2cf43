"""Any dm_env environment by the function that builds it."""

import importlib
import importlib.util
import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any

import dm_env as package
import gymnasium

from reverie.envs.errors import NotAnEnvError, UnknownTaskError
from reverie.envs.suites._common.dm_env import DmEnv

SEEDS = ("seed", "random_state", "random")
"""Parameters by which factories usually take a seed."""

EXAMPLES = (
    "dm_control.suite.cartpole:balance",
    "dm_control.suite.pendulum:swingup",
    "bsuite.environments.catch:Catch",
    "bsuite.environments.mountain_car:MountainCar",
)


def make(name: str, kwargs: Mapping[str, Any] | None = None) -> gymnasium.Env:
    """Builds the environment that a function or class returns.

    A reset with a seed builds the environment anew where the factory has a parameter `seed`,
    `random_state` or `random` that `kwargs` leaves free. Other environments cannot be seeded.

    Args:
        name: `module:factory`, such as `my_package.tasks:make_maze`.
        kwargs: Arguments of the factory.

    Raises:
        UnknownTaskError: The module cannot be imported or has no such factory.
        NotAnEnvError: The factory returns something else than a dm_env environment.
    """
    factory, given = _factory(name), dict(kwargs or {})
    key = _seed_key(factory, given)

    def anew(seed: int) -> package.Environment:
        env.close()
        return _build(name, factory, {**given, key: seed})

    env = DmEnv(_build(name, factory, given), f"dm_{name}", anew if key else None)
    return env


def tasks() -> list[str]:
    """Examples out of packages that are installed; every factory that can be imported is a task."""
    return [name for name in EXAMPLES if importlib.util.find_spec(name.partition(".")[0])]


def _build(name: str, factory: Callable[..., Any], kwargs: dict[str, Any]) -> package.Environment:
    env = factory(**kwargs)
    if not isinstance(env, package.Environment):
        raise NotAnEnvError(
            f"The factory of dm_{name} returned a {type(env).__name__}, not a dm_env.Environment. "
            "For gymnasium environments use gym_module:Id, or pass the factory itself to "
            "reverie.train."
        )
    return env


def _factory(name: str) -> Callable[..., Any]:
    """What `module:factory` names."""
    module, _, path = name.partition(":")
    if not module or not path:
        raise UnknownTaskError(
            f"The task 'dm_{name}' names no factory: write dm_module:factory, such as "
            "dm_my_package.tasks:make_maze."
        )
    try:
        factory = operator.attrgetter(path)(importlib.import_module(module))
    except ModuleNotFoundError as error:
        raise UnknownTaskError(f"The task dm_{name} cannot be imported: {error}.") from error
    except AttributeError as error:
        raise UnknownTaskError(f"The task dm_{name} has no factory: {error}.") from error
    if not callable(factory):
        raise UnknownTaskError(
            f"The task dm_{name} names a {type(factory).__name__}: it has to name a function or "
            "class that returns a dm_env environment."
        )
    return factory


def _seed_key(factory: Callable[..., Any], kwargs: Mapping[str, Any]) -> str:
    """The free parameter of a factory that takes a seed; empty if there is none."""
    try:
        parameters = inspect.signature(factory).parameters
    except ValueError:  # Functions written in C have no signature.
        return ""
    for key in SEEDS:
        # Something that is a switch by default is no seed.
        if key in parameters and not isinstance(parameters[key].default, bool):
            return "" if key in kwargs else key
    return ""
