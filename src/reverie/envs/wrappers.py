"""The one chain of wrappers between any gymnasium environment and the agent.

From the inside out: `Repeat`, `MaskFromInfo`, `Conform` (flat names, unified dtypes, checked
values), `ResizeImages`, `NormalizeActions`. Use `wrap`, which adds those that are needed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces as gs
from PIL import Image

from reverie.envs.errors import NotAnEnvError, SpaceError
from reverie.envs.flat.conform import Bounds, Conform, is_wrapped, name_of
from reverie.envs.flat.limits import LARGEST
from reverie.envs.flat.logs import merged
from reverie.envs.flat.masks import InfoMasks, MaskFromInfo, gives_masks


def wrap(
    env: gymnasium.Env,
    *,
    size: Sequence[int] = (),
    repeat: int = 1,
    bounds: Bounds = "error",
    info_mask: InfoMasks = "ignore",
) -> gymnasium.Env:
    """Makes an environment speak flat dictionaries of checked, unified arrays.

    Args:
        env: Any gymnasium environment. One that is wrapped already comes back as it is.
        size: Resize every image observation to (height, width); empty keeps their sizes.
        repeat: Apply each action this many times and sum the rewards.
        bounds: `error` raises when a continuous observation leaves its declared Box, `warn` says
            so once for each key, `ignore` lets it through (NaN and infinity are errors in all).
        info_mask: `use` moves `info["action_mask"]` into the observation, see `MaskFromInfo`;
            `auto` does it where the info of one more reset has one; `ignore` does not look.

    Returns:
        An environment with `Dict` spaces. Observations are float32, uint8 images, int32 and bool;
        continuous actions are float32 in [-1, 1], see `NormalizeActions`.

    Raises:
        NotAnEnvError: It is no single gymnasium environment.
        SpaceError: The environment has a space that the agent cannot use, or masks and `repeat`.
    """
    require_env(env)
    if is_wrapped(env):
        return env
    if repeat < 1:
        raise ValueError(f"repeat={repeat}: an action is applied at least once. Use 1 or more.")
    inner = Repeat(env, repeat) if repeat > 1 else env
    conform = Conform(inner, bounds)
    wanted = info_mask == "use" or (info_mask == "auto" and gives_masks(conform))
    if wanted and not conform.masked:
        conform = Conform(MaskFromInfo(inner), bounds)
    if conform.masked and repeat > 1:
        raise SpaceError(
            f"{name_of(env)}: repeat={repeat} would apply an action again after its mask has "
            "changed. Use repeat=1, or set env.gym.info_mask to ignore if the mask is in the info."
        )
    env = conform
    if size:
        env = ResizeImages(env, size)
    if any(isinstance(space, gs.Box) for space in _entries(env.action_space).values()):
        env = NormalizeActions(env)
    return env


def require_env(env: Any) -> None:
    """Raises NotAnEnvError, which says what to do, for anything but a gymnasium environment."""
    if isinstance(env, gymnasium.Env):
        return
    kind = f"{type(env).__module__}.{type(env).__qualname__}"
    if isinstance(env, gymnasium.vector.VectorEnv):
        raise NotAnEnvError(
            f"This is a vector of environments ({kind}). Pass what makes a single one, and set "
            "their number with run.envs."
        )
    raise NotAnEnvError(
        f"This is no gymnasium.Env but a {kind}. Derive its class from gymnasium.Env"
        + ("; environments of the package gym need gymnasium instead." if "gym" in kind else ".")
    )


class Repeat(gymnasium.Wrapper):
    """Applies each action `repeat` times or until the episode ends, and sums the rewards.

    A `log/` value of the info is the largest of the repeated steps, so that no event is lost, and
    what it adds up to is beside it under its name and `SUM`.
    """

    def __init__(self, env: gymnasium.Env, repeat: int):
        super().__init__(env)
        self._repeat = repeat

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        result = self.env.reset(seed=seed, options=options)
        known = isinstance(result, tuple) and len(result) == 2
        return (result[0], merged(result[1:])) if known else result

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """One agent step, up to `repeat` environment steps."""
        result = self.env.step(action)
        total, infos = result[1], [result[-1]]
        for _ in range(self._repeat - 1):
            # What is no result of a step is explained further out.
            if len(result) != 5 or result[2] or result[3]:
                break
            result = self.env.step(action)
            total = float(total) + float(result[1])
            infos.append(result[-1])
        return result if len(result) != 5 else (result[0], total, *result[2:4], merged(infos))


class ResizeImages(gymnasium.ObservationWrapper):
    """Resizes every image key to one size, bilinear with antialiasing.

    Attributes:
        keys: The images that have another size.
        size: The size that they get, (height, width).
    """

    def __init__(self, env: gymnasium.Env, size: Sequence[int]):
        super().__init__(env)
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"size={list(size)}: expected [height, width], such as [64, 64].")
        self.size = (int(size[0]), int(size[1]))
        entries = _entries(env.observation_space)
        self.keys = [
            key
            for key, space in entries.items()
            if space.dtype == np.uint8 and space.shape and space.shape[:2] != self.size
        ]
        for key in self.keys:
            _, _, channels = entries[key].shape or (0, 0, 0)
            shape = (*self.size, channels)
            entries[key] = gs.Box(0, 255, shape, np.uint8)
        self.observation_space = gs.Dict(entries)

    def observation(self, observation: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The observation with its images resized."""
        resized = {key: resize(observation[key], self.size) for key in self.keys}
        return {**observation, **resized}


class NormalizeActions(gymnasium.ActionWrapper):
    """Clips continuous actions to [-1, 1] and maps that to their bounds.

    The model sees actions cut to [-1, 1], whatever the policy sampled, and what it sees is to be
    what the environment gets. So an entry without bounds takes values in [-1, 1], and one with a
    single bound those up to 2 from it.

    Attributes:
        unbounded: Names of the actions with such entries, and the ranges of them that are used.
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        entries = _entries(env.action_space)
        self.unbounded: dict[str, str] = {}
        self._affine = {}
        for key, space in entries.items():
            if not isinstance(space, gs.Box):
                continue
            low, high = _ranges(space)
            self._affine[key] = ((high - low) / 2, (high + low) / 2)
            if not np.array_equal((low, high), (space.low, space.high)):
                self.unbounded[key] = f"[{low.min():g}, {high.max():g}]"
            entries[key] = gs.Box(-1, 1, space.shape, np.float32)
        self.action_space = gs.Dict(entries)

    def action(self, action: Mapping[str, Any]) -> dict[str, Any]:
        """The action in the bounds of the environment (NaN stays, and is reported further in)."""
        mapped = {
            key: np.minimum(np.maximum(action[key], -1), 1) * scale + mid
            for key, (scale, mid) in self._affine.items()
            if key in action
        }
        return {**action, **mapped}


def _ranges(space: gs.Box) -> tuple[np.ndarray, np.ndarray]:
    """The least and greatest values that are used of a space: its bounds where it has them."""
    # No number of float32 is further from another than the largest one; such bounds bound nothing.
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(space.high - space.low)
    below = ~finite & np.isfinite(space.low) & (np.abs(space.low) < LARGEST)
    above = ~finite & ~below & np.isfinite(space.high) & (np.abs(space.high) < LARGEST)
    low = np.select([finite | below, above], [space.low, space.high - 2], -1)
    high = np.select([finite | above, below], [space.high, space.low + 2], 1)
    return low.astype(np.float32), high.astype(np.float32)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A uint8 image [H, W, C] at another (height, width), any number of channels."""
    height, width = size
    if image.shape[2] == 3:
        small = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(small)
    channels = [
        Image.fromarray(image[:, :, c]).resize((width, height), Image.Resampling.BILINEAR)
        for c in range(image.shape[2])
    ]
    return np.stack([np.asarray(channel) for channel in channels], -1)


def _entries(space: gymnasium.Space) -> dict[str, gymnasium.Space]:
    if not isinstance(space, gs.Dict):
        raise TypeError(f"Expected a flat Dict space, got {space}. Apply Conform first.")
    return dict(space.spaces)
