"""From a task name such as `dmc_walker_walk` to an environment."""

import functools
import importlib
import importlib.util
import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from reverie.catalog import SUITES, Suite, announced
from reverie.envs.errors import MissingPackageError, OptionError, UnknownTaskError, did_you_mean
from reverie.envs.vector.batched import BatchedVectorEnv
from reverie.envs.vector.seeds import env_seeds
from reverie.envs.wrappers import wrap

_WITH_MODULES = ("gym", "dm")
"""Suites whose tasks may name a module before a colon."""

_FOREIGN = ("gym", "dm", "envpool")
"""Suites of what any package may define; their options are `kwargs` and those of `wrap`."""


def make(task: str, options: Mapping[str, Any] | None = None) -> gymnasium.Env:
    """Builds a wrapped environment.

    Args:
        task: `suite_name`, for example `gym_CartPole-v1`, `dmc_walker_walk`, `crafter_reward`,
            `dummy_disc`, or `gym_module:Id` to import a module that registers the id; or
            `module:Class` for a class or function that makes an environment.
        options: Settings of the suite, as in the configuration under `env.<suite>`.

    Returns:
        An environment with flat `Dict` spaces, see `reverie.envs.wrappers.wrap`.

    Raises:
        UnknownTaskError: No such suite or task; the message names the nearest ones.
        MissingPackageError: The suite's package is not installed; the message says how.
        TypeError: An option that the suite does not have.
        OptionError: A value that an option cannot have.
    """
    suite, name = split(task)
    module, options = _module(suite), _complete(suite, options or {})
    outer = {}
    if suite.name in _FOREIGN:
        outer = {key: options.pop(key) for key in list(options) if key != "kwargs"}
    return wrap(module.make(name, **options), **outer)


def make_vec(
    task: str, num_envs: int, options: Mapping[str, Any] | None = None, *, seed: int = 0
) -> BatchedVectorEnv | None:
    """Builds environments that one engine steps together, where the suite has one.

    Its file then offers `make_vec(name, num_envs, seeds, **options)`, with the options of `make`.

    Args:
        task, options: As for `make`.
        num_envs: How many environments.
        seed: Seed of the run, from which those of the first reset derive.

    Returns:
        A vector environment with the spaces that `make` has; None where the suite has no engine.

    Raises:
        UnknownTaskError, MissingPackageError, TypeError: As for `make`.
    """
    suite, name = split(task)
    if not suite.batched:
        return None
    module, options = _module(suite), _complete(suite, options or {})
    return module.make_vec(name, num_envs, env_seeds(seed, num_envs), **options)


def factory_of(
    source: str | Callable[[], gymnasium.Env], options: Mapping[str, Any] | None = None
) -> Callable[[], gymnasium.Env]:
    """A picklable function that builds the environment: for a task name, `make` with arguments."""
    if callable(source):
        return source
    made = functools.partial(make, source, dict(options or {}))
    spec = gymnasium.registry.get(source.partition("_")[2])
    return functools.partial(_registered, spec, made) if spec else made


def all_suites() -> dict[str, Suite]:
    """All suites by name: ours, and those of other packages."""
    return {**SUITES, **announced()[0]}


def split(task: str) -> tuple[Suite, str]:
    """The suite of a task, and the task's name inside it."""
    prefix, _, name = task.partition("_")
    if ":" in task and prefix not in _WITH_MODULES:
        return SUITES["gym"], task
    known = all_suites() if prefix not in SUITES else SUITES
    if prefix in known and name:
        return known[prefix], name
    if task in gymnasium.registry:
        raise UnknownTaskError(f"The task {task!r} is a gymnasium id: write it as 'gym_{task}'.")
    if prefix in known:
        some = ", ".join(f"{prefix}_{each}" for each in tasks(prefix)[:3])
        raise UnknownTaskError(f"The task {task!r} has no name after its suite; try one of {some}.")
    if prefix in announced()[1]:
        raise MissingPackageError(announced()[1][prefix])
    raise UnknownTaskError(
        f"The task {task!r} starts with no known suite. {did_you_mean(prefix, known)}Tasks are "
        f"written suite_name, with the suites {', '.join(known)}; or module:Class for an "
        "environment of your own."
    )


def full_name(task: str) -> str:
    """The name of a task with its suite, where a bare gymnasium id or `module:Id` is given too.

    What is registered under the whole name wins, also where it begins like a suite does.
    """
    prefix, _, rest = task.partition("_")
    module, colon, name = task.partition(":")
    if task in gymnasium.registry:
        return f"gym_{task}"
    if prefix in _WITH_MODULES:
        meant = colon and not _exists(rest.partition(":")[0]) and _exists(module)
        return f"gym_{task}" if meant else task
    # The id of an environment may look like the name of a class, which `gym` finds as well.
    is_id = colon and not all(part.isidentifier() for part in name.split("."))
    # Gymnasium knows the nearest versions of an id that it does not have, or not any more.
    is_id = is_id or (prefix not in all_suites() and re.search(r"-v\d+$", task))
    return f"gym_{task}" if is_id else task


def tasks(suite: str) -> list[str]:
    """Names of the tasks of a suite, without the suite's own name and `_` in front."""
    return _module(all_suites()[suite]).tasks()


def _registered(spec: EnvSpec, factory: Callable[[], gymnasium.Env]) -> gymnasium.Env:
    """Makes an environment by an id that the program may have registered in another process."""
    gymnasium.registry.setdefault(spec.id, spec)
    return factory()


def _exists(module: str) -> bool:
    """Whether there is a file of a module, not just a folder of its name."""
    try:
        spec = importlib.util.find_spec(module)
        return spec is not None and spec.origin is not None
    except (ImportError, ValueError):
        return False


def _module(suite: Suite) -> ModuleType:
    """Imports the file of a suite, which imports the package behind it."""
    if not suite.installed:
        raise MissingPackageError(
            f"The suite {suite.name!r} needs the package {suite.package}: {suite.install}"
        )
    try:
        return importlib.import_module(suite.module or f"reverie.envs.suites.{suite.name}")
    except ImportError as error:
        message = f"The suite {suite.name!r} cannot import what it needs ({error}): {suite.install}"
        raise MissingPackageError(message.removesuffix(": ")) from error


def _complete(suite: Suite, options: Mapping[str, Any]) -> dict[str, Any]:
    """Checks options and adds the defaults of the others."""
    # The configuration loads the suites of other packages, which may import this module.
    from pydantic import ValidationError

    from reverie.config.sections.env import EnvConfig
    from reverie.config.syntax.keys import leaves

    section = suite.options or type(getattr(EnvConfig(), suite.name))
    known = section.model_fields
    for key in options:
        if key not in known:
            raise TypeError(
                f"env.{suite.name}.{key}: the suite has no such option. "
                f"{did_you_mean(key, known, '{!r}')}It has {', '.join(known)}."
            )
    try:
        checked = section(**options)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise OptionError(
            f"env.{suite.name}.{key} = {options[key]!r}: expected {leaves(section)[key].expects}."
        ) from None
    return {key: getattr(checked, key) for key in known}
