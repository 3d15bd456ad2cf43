"""The one chain of wrappers between any gymnasium environment and the agent.

From the inside out: those of the user, `Repeat`, `MaskFromInfo`, `Conform` (flat names, unified
dtypes, one size of images, actions in [-1, 1], checked values). Use `wrap`, which adds those that
are needed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, SupportsFloat

import gymnasium
import numpy as np

from reverie.envs.errors import NotAnEnvError, OptionError, SpaceError
from reverie.envs.flat.conform import Conform, is_wrapped, name_of, wrapper_of
from reverie.envs.flat.convert import short
from reverie.envs.flat.converter import Bounds
from reverie.envs.flat.logs import merged
from reverie.envs.flat.masks import InfoMasks, MaskFromInfo, gives_masks
from reverie.errors import ConfigError


def wrap(
    env: gymnasium.Env,
    *,
    size: Sequence[int] = (),
    repeat: int = 1,
    bounds: Bounds = "error",
    info_mask: InfoMasks = "ignore",
    wrappers: Sequence[str] = (),
) -> gymnasium.Env:
    """Makes an environment speak flat dictionaries of checked, unified arrays.

    Args:
        env: Any gymnasium environment. One that is wrapped already comes back as it is; what was
            inside of it gets neither `wrappers` nor `repeat` a second time.
        size: Resize every image observation to (height, width); empty keeps their sizes.
        repeat: Apply each action this many times and sum the rewards.
        bounds: `error` raises when a continuous observation leaves its declared Box, `warn` says
            so once for each key, `ignore` lets it through (NaN and infinity are errors in all).
        info_mask: `use` moves `info["action_mask"]` into the observation, see `MaskFromInfo`;
            `auto` does it where the info of one more reset has one; `ignore` does not look.
        wrappers: Further wrappers inside of all others, as `module:Class`, the innermost first.

    Returns:
        An environment with `Dict` spaces. Observations are float32, uint8 images, int32 and bool;
        continuous actions are float32 in [-1, 1], see `leaves.used_range`.

    Raises:
        NotAnEnvError: It is no single gymnasium environment.
        SpaceError: The environment has a space that the agent cannot use, or masks and `repeat`.
        ConfigError: A name of `wrappers` is none, or what it names fails.
    """
    require_env(env)
    if is_wrapped(env):
        return env
    if repeat < 1:
        raise ValueError(f"repeat={repeat}: an action is applied at least once. Use 1 or more.")
    inner = env if wrapper_of(env, Prepared) else _prepared(env, repeat, wrappers)
    conform = Conform(inner, bounds, size)
    wanted = info_mask == "use" or (info_mask == "auto" and gives_masks(conform))
    if wanted and not conform.converter.masked:
        conform = Conform(MaskFromInfo(inner), bounds, size)
    if conform.converter.masked and repeat > 1:
        raise SpaceError(
            f"{name_of(env)}: repeat={repeat} would apply an action again after its mask has "
            "changed. Use repeat=1, or set env.gym.info_mask to ignore if the mask is in the info."
        )
    return conform


class Prepared(gymnasium.Wrapper):
    """Has the user's wrappers and the repeats, which `wrap` does not put around it again.

    So it is inside of what `TrainedAgent.make_env` gives.
    """


def _prepared(env: gymnasium.Env, repeat: int, wrappers: Sequence[str]) -> gymnasium.Env:
    for name in wrappers:
        env = _wrapped_by(name, env)
    env = Repeat(env, repeat) if repeat > 1 else env
    return Prepared(env) if wrappers or repeat > 1 else env


def _wrapped_by(name: str, env: gymnasium.Env) -> gymnasium.Env:
    """An environment inside of the wrapper with a name."""
    from reverie.config.named import by_name  # The configuration takes longest to import.

    option = "env.gym.wrappers"
    make = by_name(option, name, {})
    try:
        wrapped = make(env)
    except Exception as error:
        raise ConfigError(
            f"{option}: {name!r} raised {type(error).__name__}: {error}. It is called with the "
            "environment alone; one that needs more is set up by a function of yours."
        ) from error
    if not isinstance(wrapped, gymnasium.Env):
        kind = type(wrapped).__name__
        raise ConfigError(
            f"{option}: {name!r} is no wrapper. It has returned a {kind}, and no gymnasium.Env."
        )
    return wrapped


def require_env(env: Any) -> None:
    """Raises NotAnEnvError, which says what to do, for anything but a gymnasium environment."""
    if isinstance(env, gymnasium.Env):
        try:
            _ = env.observation_space, env.action_space
        except AttributeError as error:
            raise NotAnEnvError(
                f"{error}. Set observation_space and action_space in the class or in __init__."
            ) from error
        return
    kind = f"{type(env).__module__}.{type(env).__qualname__}"
    if isinstance(env, gymnasium.vector.VectorEnv):
        raise NotAnEnvError(
            f"This is a vector of environments ({kind}). Pass what makes a single one, and set "
            "their number with run.envs."
        )
    if kind.startswith("builtins."):
        raise NotAnEnvError(
            f"What makes the environment has returned {short(env)}. Return an instance of a "
            "gymnasium.Env."
        )
    mend = "Derive its class from gymnasium.Env."
    if hasattr(env, "possible_agents"):
        mend = "It has several agents, and Reverie trains one: wrap it so that one of them acts."
    elif hasattr(env, "observation_spec"):
        mend = "One of dm_env is trained by its name: --task dm_module:factory."
    elif "gym" in kind:
        mend = "Environments of the package gym need gymnasium instead, whose step returns five."
    raise NotAnEnvError(f"This is no gymnasium.Env but a {kind}. {mend}")


def made(factory: Callable[[], gymnasium.Env], options: Mapping[str, Any]) -> gymnasium.Env:
    """Makes an environment and wraps it; as a `functools.partial` it goes to other processes."""
    return wrap(called(factory), **options)


def called(factory: Callable[[], gymnasium.Env]) -> gymnasium.Env:
    """What a function of the user makes; says how to give arguments, where it needs some."""
    try:
        return factory()
    except TypeError as error:
        if error.__traceback__ and error.__traceback__.tb_next:
            raise  # Not the call has failed, but something inside.
        raise OptionError(
            f"The environment cannot be built without arguments: {error}. Pass it with them, such "
            "as functools.partial(MyEnv, size=3)."
        ) from error


def limited(factory: Callable[[], gymnasium.Env], steps: int) -> gymnasium.Env:
    """Makes an environment whose episodes are cut after so many steps."""
    return gymnasium.wrappers.TimeLimit(factory(), steps)


class Repeat(gymnasium.Wrapper):
    """Applies each action `repeat` times or until the episode ends, and sums the rewards.

    A `log/` value of the info is the largest of the repeated steps, so that no event is lost, and
    what it adds up to is beside it under its name and `SUM`.
    """

    def __init__(self, env: gymnasium.Env, repeat: int):
        super().__init__(env)
        self._repeat = repeat
        if fps := env.metadata.get("render_fps"):
            self.metadata = {**env.metadata, "render_fps": fps / repeat}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        result = self.env.reset(seed=seed, options=options)
        known = isinstance(result, tuple) and len(result) == 2
        return (result[0], merged(result[1:])) if known else result

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """One agent step, up to `repeat` environment steps."""
        total, infos = 0.0, []
        while True:
            result = self.env.step(action)
            try:
                obs, reward, terminated, truncated, info = result
                total += _number(reward)
            except (TypeError, ValueError):
                return result  # What is wrong with it is explained further out.
            infos.append(info)
            if terminated or truncated or len(infos) == self._repeat:
                return obs, total, terminated, truncated, merged(infos)


def _number(reward: Any) -> float:
    """A reward, without the arrays of one entry that `float` takes."""
    if np.ndim(reward):
        raise ValueError
    return float(reward)
