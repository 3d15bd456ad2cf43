"""The public conformance check: does an environment keep what the agent relies on?"""

import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from reverie.envs.errors import (
    MissingDataError,
    MissingPackageError,
    NotAnEnvError,
    OptionError,
    OutOfBoundsError,
    SpaceError,
    UnknownTaskError,
    ValueMismatchError,
    own_frame,
)
from reverie.envs.flat.conform import WARNINGS, name_of, native, spaces
from reverie.envs.flat.converter import Converter
from reverie.envs.flat.leaves import random_actions
from reverie.envs.flat.logs import only_logs
from reverie.envs.flat.masks import valid_actions
from reverie.envs.notes import Finding, notes, of_wrappers, resize_note
from reverie.envs.registry import factory_of, split
from reverie.envs.vector.backend import pickle_problem
from reverie.envs.wrappers import called, require_env, wrap
from reverie.errors import ConfigError
from reverie.spaces import mask_keys

if TYPE_CHECKING:
    from reverie.config.sections.agent import AgentConfig

DARK = 32
"""Brightness of a pixel that an image of colours has somewhere within a few steps."""

SLOW = 20.0
"""Steps per second below which training waits for the environment."""

_ANYTHING = (Exception, SystemExit)
"""What an environment may raise; an interrupt comes from the user, and ends the check."""

_EXPLAINED = (UnknownTaskError, MissingPackageError, MissingDataError, OptionError, SpaceError)
"""Their messages say what to do."""


def check(
    source: str | gymnasium.Env | Callable[[], gymnasium.Env],
    options: Mapping[str, Any] | None = None,
    *,
    steps: int = 200,
    agent: "AgentConfig | None" = None,
) -> list[Finding]:
    """Checks an environment by building it and playing random actions.

    It looks at spaces and names, at every value of `steps` steps, at the flags and the end of
    episodes, whether a seed repeats itself, and at the speed.

    Args:
        source: A task name, an environment (left open), or a function that builds one.
        options: Settings of the suite where `source` is a task name.
        steps: Random steps to take, at least 100.
        agent: Options of the agent that is to take the observations; None: the defaults.

    Returns:
        What was found, worst first; errors stop training. A faultless environment has only notes.
    """
    steps = max(steps, 100)
    if options and options.get("bounds") == "warn":
        options = {**options, "bounds": "error"}
    found: list[Finding] = []
    try:
        if isinstance(source, gymnasium.Env) or (hasattr(source, "step") and not callable(source)):
            found += _inspect(source, steps, agent, "gym")
        else:
            found += _build_and_inspect(source, options, steps, agent)
    except _ANYTHING as error:  # Whatever else an environment can do: the check only reports.
        found.append(Finding("error", f"The check met {_say(error)}.", "See its traceback."))
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda finding: order[finding.level])


def _build_and_inspect(
    source: str | Callable[[], gymnasium.Env],
    options: Mapping[str, Any] | None,
    steps: int,
    agent: "AgentConfig | None",
) -> Iterator[Finding]:
    if not isinstance(source, str) and not callable(source):
        problem = f"{source!r} is neither a task nor an environment, a class or a function."
        yield Finding("error", problem, "Pass one of them.")
        return
    factory = factory_of(source, options)
    if problem := pickle_problem(factory):
        mend = "Build everything inside the factory; until then only run.env_backend=sync works."
        yield Finding("warning", f"{problem[0].upper()}{problem[1:]}.", mend)
    try:
        env = called(factory)
    except _EXPLAINED as error:
        yield Finding("error", str(error))
        return
    except ValueMismatchError as error:  # Of the reset that looks for masks.
        yield _mismatch(error, _suite(source))
        return
    except _ANYTHING as error:
        mend = "Make the environment's constructor work."
        yield Finding("error", f"It cannot be built: {_say(error).removesuffix('.')}.", mend)
        return
    try:
        yield from _inspect(
            env, steps, agent, _suite(source), bool(options and options.get("size"))
        )
    finally:
        close = getattr(env, "close", lambda: None)
        try:
            close()
        except _ANYTHING as error:
            yield Finding("warning", f"close() raised {_say(error)}.", "Let it pass.")


def _inspect(
    env: Any, steps: int, agent: "AgentConfig | None", suite: str, sized: bool = False
) -> Iterator[Finding]:
    try:
        require_env(env)
    except NotAnEnvError as error:
        yield Finding("error", str(error))
        return
    masked = False
    try:
        wrapped = wrap(env, info_mask="auto")
        yield from _check_images(wrapped, agent, suite, sized)
        yield from notes(wrapped.get_wrapper_attr("converter"))
        yield from of_wrappers(wrapped)
        masked = bool(mask_keys(*spaces(wrapped)))
        yield from _check_play(wrapped, steps)
    except SpaceError as error:
        yield Finding("error", str(error), "Change the space as the message says.")
    except ValueMismatchError as error:
        yield _mismatch(error, suite)
    except _ANYTHING as error:
        which = "that its mask declared valid" if masked else "from the action space"
        mend = f"Random actions {which} must work; so must a reset in mid-episode."
        if isinstance(error, TypeError):
            mend = "The signatures are reset(*, seed=None, options=None) and step(action)."
        place = f" ({place})" if (place := own_frame(error)) else ""
        yield Finding("error", f"{name_of(env)} raised {_say(error)}{place}.", mend)


def _suite(source: str | Callable[[], gymnasium.Env]) -> str:
    return split(source)[0].name if isinstance(source, str) else "gym"


def _mismatch(error: ValueMismatchError, suite: str) -> Finding:
    """What does not fit its space; the message says what to do."""
    mend = ""
    if isinstance(error, OutOfBoundsError) and _foreign(suite):
        key = f"env.{suite}.bounds"
        mend = f"Training lets such values through after one warning, unless {key} is error."
    return Finding("error", str(error), mend)


def _check_play(wrapped: gymnasium.Env, steps: int) -> Iterator[Finding]:
    recorder = _Recorder(wrapped)
    first = recorder.play(steps)
    again = recorder.play(steps)
    for text in recorder.warnings.values():
        yield Finding("warning", text)
    yield from _check_brightness(recorder.brightest)
    made = [each for each in first + again if "reward" in each]
    yield from _check_episodes(made, steps)
    yield from _check_seeding(first, again)
    yield from _check_speed(recorder, len(made), len(first + again) - len(made))


def _check_images(
    wrapped: gymnasium.Env, agent: "AgentConfig | None", suite: str, sized: bool
) -> Iterator[Finding]:
    # The configuration loads the suites of other packages, which may import this one.
    from reverie.config.checks import check_spaces, fitting_size
    from reverie.config.sections.agent import AgentConfig

    agent = agent or AgentConfig()
    obs, act = spaces(wrapped)
    size = fitting_size(obs, agent) if _foreign(suite) and not sized else ()
    if size:
        yield Finding("note", resize_note(obs, size, suite))
        inner = native(wrapped)
        obs, act = Converter(inner.observation_space, inner.action_space, size).spaces
    try:
        check_spaces({**obs, **act}, agent)
    except ConfigError as error:
        yield Finding("error", str(error))


def _check_brightness(brightest: Mapping[str, int]) -> Iterator[Finding]:
    for key, most in brightest.items():
        if most < DARK:
            yield Finding(
                "warning",
                f"No pixel of {key!r} was brighter than {most} of 255.",
                "If these are codes and no colours, a model sees little of them: a wrapper "
                "(env.gym.wrappers) may draw them, or make classes of them.",
            )


def _foreign(suite: str) -> bool:
    """Whether a suite has any package's environments, whose images training resizes."""
    from reverie.config.sections.env import EnvConfig  # As above.
    from reverie.options import ForeignConfig

    return isinstance(getattr(EnvConfig(), suite), ForeignConfig)


def _check_episodes(made: list, steps: int) -> Iterator[Finding]:
    if not any(step["terminated"] or step["truncated"] for step in made):
        yield Finding(
            "note",
            f"No episode ended within {steps} random steps.",
            "If episodes have no limit, add one: gymnasium.wrappers.TimeLimit.",
        )
    if both := sum(bool(step["terminated"] and step["truncated"]) for step in made):
        yield Finding(
            "note",
            f"{both} steps were both terminated and truncated.",
            "They count as terminated: nothing is expected to follow.",
        )
    if not any(step["reward"] for step in made):
        yield Finding("note", "Every reward of the random steps was 0.")


def _check_seeding(first: list, again: list) -> Iterator[Finding]:
    for step, (one, two) in enumerate(zip(first, again, strict=True)):
        for key in one:
            if not np.array_equal(one[key], two[key]):
                yield Finding(
                    "warning",
                    f"With the same seed and actions {key!r} differs at step {step}.",
                    "Draw all randomness from self.np_random after super().reset(seed=seed).",
                )
                return


def _check_speed(recorder: "_Recorder", steps: int, resets: int) -> Iterator[Finding]:
    rate = steps / max(recorder.step_seconds, 1e-9)
    reset = recorder.reset_seconds / resets
    level = "warning" if rate < SLOW else "note"
    mend = "Use more parallel environments with run.env_backend=async." if rate < SLOW else ""
    yield Finding(level, f"{rate:.0f} steps per second, {1e3 * reset:.1f} ms per reset.", mend)


class _Recorder:
    """Plays seeded random actions, and keeps what the checks need: of images no copies."""

    def __init__(self, env: gymnasium.Env):
        self._env = env
        self.warnings: dict[str, str] = {}
        found = spaces(env)[0].items()
        self.brightest = {key: 0 for key, space in found if space.kind == "image"}
        self.step_seconds = self.reset_seconds = 0.0

    def play(self, steps: int) -> list[dict[str, Any]]:
        """Every observation, reward and flag of a run that starts from seed 0, see `_kept`."""
        obs_space, act_space = spaces(self._env)
        masks, rng = mask_keys(obs_space, act_space), np.random.default_rng(0)
        actions = random_actions(act_space, steps, rng)
        obs = self._reset(seed=0)
        record = [self._kept(obs)]
        over = False
        for index in range(steps):
            if over:
                obs = self._reset(seed=None)
                record.append(self._kept(obs))
                over = False
                continue
            action = {key: array[index] for key, array in actions.items()}
            action |= valid_actions(act_space, masks, obs, rng)
            start = time.perf_counter()
            obs, reward, terminated, truncated, info = self._env.step(action)
            self.warnings |= only_logs(self._env, info).get(WARNINGS, {})
            self.step_seconds += time.perf_counter() - start
            over = terminated or truncated
            flags = {"reward": reward, "terminated": terminated, "truncated": truncated}
            record.append(self._kept({**obs, **flags}))
        return record

    def _reset(self, seed: int | None) -> dict[str, np.ndarray]:
        start = time.perf_counter()
        obs, info = self._env.reset(seed=seed)
        only_logs(self._env, info)
        self.reset_seconds += time.perf_counter() - start
        return obs

    def _kept(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Copies of the values, and a checksum of every image."""
        kept: dict[str, Any] = {}
        for key, value in values.items():
            if key in self.brightest:
                self.brightest[key] = max(self.brightest[key], int(value.max()))
                kept[key] = zlib.crc32(np.ascontiguousarray(value).data)
            else:
                kept[key] = np.array(value)
        return kept


def _say(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
