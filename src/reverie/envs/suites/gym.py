"""Any gymnasium environment by its id, or by the class or function that makes it."""

import difflib
import functools
import importlib
import importlib.util
import operator
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
from gymnasium import error as gym_error

from reverie.envs.errors import MissingPackageError, OptionError, UnknownTaskError
from reverie.extras import install

EXTRAS = {"box2d": "box2d", "mujoco": "mujoco"}
"""Parts of gymnasium that need another package -> the extra of this project."""

PACKAGES = {
    "gymnasium_robotics": install("robotics"),
    "metaworld": install("metaworld"),
    "minigrid": install("minigrid"),
    # Its dependency on one release of gymnasium is stricter than what it works with.
    "nle": "pip install --no-deps nle",
    "popgym": install("popgym"),
    "vizdoom": install("vizdoom"),
}
"""Modules that register ids and are tested -> the command that installs them."""


def make(name: str, kwargs: Mapping[str, Any] | None = None) -> gymnasium.Env:
    """Builds the environment with a gymnasium id.

    Args:
        name: The id, such as `CartPole-v1`, or `module:Id` to import a module first; or
            `module:Class`, also of a function, which is called.
        kwargs: Arguments of the environment, as for `gymnasium.make`.

    Raises:
        UnknownTaskError: The id is not registered, or its module cannot be imported.
        MissingPackageError: The environment needs a package that is not installed.
        OptionError: It takes other arguments.
    """
    try:
        own = _own(name)
        # Reverie checks values itself, with errors in place of gymnasium's warnings.
        build = own or functools.partial(gymnasium.make, name, disable_env_checker=True)
        return build(**(kwargs or {}))
    except TypeError as error:
        call = error.__cause__ or error  # gymnasium.make tells it in its own words.
        if call.__traceback__ and call.__traceback__.tb_next:
            raise  # Not the call has failed, but something inside.
        given = dict(kwargs or {})
        raise OptionError(
            f"env.gym.kwargs is {given}, but {name} is made otherwise: {call}. Each argument is "
            "given as --env.gym.kwargs.NAME VALUE."
        ) from error
    except gym_error.DependencyNotInstalled as error:
        raise MissingPackageError(_install(name, error)) from error
    except ModuleNotFoundError as error:
        package = name.partition(":")[0].partition(".")[0]
        if package in PACKAGES and importlib.util.find_spec(package) is None:
            raise MissingPackageError(
                f"The task gym_{name} needs the package {package}: {PACKAGES[package]}"
            ) from error
        hint = "Modules are found in the current folder and on PYTHONPATH."
        hint = "Leave out .py: module:Class names a module." if ".py:" in name else hint
        raise UnknownTaskError(f"The task {name} cannot be imported: {error}. {hint}") from error
    except (gym_error.UnregisteredEnv, gym_error.DeprecatedEnv) as error:
        near = difflib.get_close_matches(name, tasks(), n=3)
        advice = f"Did you mean {' or '.join(f'gym_{each}' for each in near)}? " if near else ""
        raise UnknownTaskError(
            f"gymnasium knows no environment {name!r}: {error} {advice}Ids of other packages are "
            "written module:Id, with the module that registers them."
        ) from error


def tasks() -> list[str]:
    """The ids that are registered now."""
    return sorted(gymnasium.registry)


def _own(name: str) -> Callable[..., gymnasium.Env] | None:
    """The class or function that `module:Class` names; None if it is an id."""
    module, _, path = name.partition(":")
    if not path or not all(part.isidentifier() for part in path.split(".")):
        return None
    try:
        return operator.attrgetter(path)(importlib.import_module(module))
    except AttributeError as error:
        if any(each.endswith(f"{path}") for each in gymnasium.registry):
            return None
        raise UnknownTaskError(
            f"The task {name} names nothing: {error}. Expected module:Class, a class or function "
            "that makes a gymnasium environment, or module:Id with a registered id."
        ) from error


def _install(name: str, error: Exception) -> str:
    spec = gymnasium.registry.get(name)
    for part, extra in EXTRAS.items():
        if spec and f".{part}" in str(spec.entry_point):
            return f"The task gym_{name} needs a package: {install(extra)}"
    return f"The task gym_{name} needs a package: {error}"
