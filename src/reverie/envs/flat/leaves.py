"""What a gymnasium space looks like once it is flat: one named `Leaf` per array.

Nested Dict and Tuple spaces become names joined with `/`; every entry becomes a float32 or uint8
`Box`, a `Discrete` or `MultiDiscrete` counting from 0, or a `MultiBinary`.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces as gs

from reverie.envs.errors import SpaceError
from reverie.envs.images import Picture, picture
from reverie.spaces import LATENT_PREFIX, LOG_PREFIX, RESERVED, Space, is_mask

LARGEST = float(np.finfo(np.float32).max)

Role = Literal["observation", "action"]
Path = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One array inside a nested gymnasium space.

    Args:
        key: Its name in the flat dictionary, path entries joined with `/`.
        path: Where it lies in the nested value.
        native: The space that the environment declared.
        flat: The space of the converted value: `Box` of float32 (from -1 to 1 in an action) or
            uint8, `Discrete`, `MultiDiscrete` or `MultiBinary`, always counting from 0.
        picture: How it becomes an image; None if it is none, or is one already.
    """

    key: str
    path: Path
    native: gymnasium.Space
    flat: gymnasium.Space
    picture: Picture | None = None

    @property
    def note(self) -> str:
        """What people should know about it; empty if nothing."""
        if self.picture is None:
            return ""
        size = "x".join(map(str, self.picture.shape))
        return (
            f"The observation {self.key!r} of shape {self.native.shape} is taken as "
            f"{self.picture.why}: {size} as height x width x channels."
        )


def describe(space: gymnasium.Space) -> dict[str, Space]:
    """The `Space` of every key of a flat dictionary space, keys starting with `log/` left out."""
    return {k: v for k, v in describe_all(space).items() if not k.startswith(LOG_PREFIX)}


def describe_all(space: gymnasium.Space) -> dict[str, Space]:
    """The `Space` of every key of a flat dictionary space."""
    assert isinstance(space, gs.Dict)
    return {key: _describe_leaf(entry) for key, entry in space.items()}


def random_actions(
    spaces: Mapping[str, Space], num: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Uniform random actions `[num, ...]`: class indices, or floats in [-1, 1]."""
    actions = {}
    for key, space in spaces.items():
        shape = (num, *space.shape)
        if space.kind == "discrete":
            classes = np.reshape(space.classes, space.shape)
            actions[key] = rng.integers(0, classes, shape).astype(space.dtype)
        else:
            actions[key] = rng.uniform(-1, 1, shape).astype(np.float32)
    return actions


def leaves(space: gymnasium.Space, role: Role, size: Sequence[int] = ()) -> Iterator[Leaf]:
    """The arrays of a space in its order; images get the height and width of `size`, if any."""
    if isinstance(space, gs.Dict):
        root: Path = ()
    elif isinstance(space, gs.Tuple):
        root = ("action" if role == "action" else "obs",)
    else:
        flat = _flat_space(space, role, role, size)
        image = isinstance(flat, gs.Box) and flat.dtype == np.uint8
        key = "action" if role == "action" else "image" if image else "obs"
        yield Leaf(key, (), space, flat, _picture(space, role, role))
        return
    for path, leaf in walk(space):
        if children(leaf) is not None:
            continue
        key = join((*root, *path))
        # Text beside other observations is left out; alone, or as an action, it is refused.
        ignored = role == "observation" and is_text(leaf)
        flat = leaf if ignored else _flat_space(leaf, role, key, size)
        yield Leaf(key, path, leaf, flat, _picture(leaf, role, key))


def children(space: gymnasium.Space) -> list[tuple[str | int, gymnasium.Space]] | None:
    if isinstance(space, gs.Dict):
        return list(space.spaces.items())
    if isinstance(space, gs.Tuple):
        return list(enumerate(space.spaces))
    return None


def numel(space: gymnasium.Space) -> int:
    """How many numbers an agent can learn from; text has none."""
    if is_text(space):
        return 0
    return int(np.prod(space.shape or (), dtype=np.int64))


def is_text(space: gymnasium.Space) -> bool:
    """Whether values are strings, as in `Text` and in text spaces that packages define."""
    return space.dtype is not None and space.dtype.kind == "U"


def walk(space: gymnasium.Space, path: Path = ()) -> Iterator[tuple[Path, gymnasium.Space]]:
    """A space and all inside of it, with the places of their values."""
    yield path, space
    for name, child in children(space) or ():
        yield from walk(child, (*path, name))


def reach(value: Any, path: Path) -> Any:
    """What lies at a place of a nested value."""
    for part in path:
        value = value[part]
    return value


def join(path: Path) -> str:
    # An enumeration of strings is not always the text that str() makes of it.
    return "/".join(part if isinstance(part, str) else str(part) for part in path)


def _picture(space: gymnasium.Space, role: Role, key: str) -> Picture | None:
    if not isinstance(space, gs.Box) or role == "action" or is_mask(key):
        return None
    return None if key.startswith(LOG_PREFIX) else picture(space)


def _flat_space(
    space: gymnasium.Space, role: Role, key: str, size: Sequence[int]
) -> gymnasium.Space:
    if isinstance(space, gs.Discrete):
        return gs.Discrete(int(space.n))
    if isinstance(space, gs.MultiDiscrete):
        return gs.MultiDiscrete(space.nvec, dtype=np.int32)
    if isinstance(space, gs.MultiBinary):
        return gs.MultiBinary(space.shape)
    if isinstance(space, gs.Box):
        mask = role == "observation" and is_mask(key)
        # From 0 to 1, as action masks are often declared.
        bits = mask and (space.low == 0).all() and (space.high == 1).all()
        if bits or space.dtype == bool:
            return gs.MultiBinary(space.shape)
    if isinstance(space, gs.Box) and space.dtype is not None and space.dtype.kind in "fiu":
        found = _picture(space, role, key)
        is_image = role == "observation" and space.dtype == np.uint8 and len(space.shape) == 3
        if found or is_image:
            height, width, channels = found.shape if found else space.shape
            return gs.Box(0, 255, (*(size or (height, width)), channels), np.uint8)
        if role == "action":
            return gs.Box(-1, 1, space.shape, np.float32)
        with np.errstate(over="ignore"):
            low, high = space.low.astype(np.float32), space.high.astype(np.float32)
        return gs.Box(low, high, space.shape, np.float32)
    raise SpaceError(
        f"The {role} {key!r} is a {type(space).__name__} space, which the agent cannot use: "
        f"{space}. Use Box, Discrete, MultiDiscrete or MultiBinary, alone or inside Dict and "
        "Tuple; convert or drop this entry with gymnasium.wrappers.Transform"
        f"{role.capitalize()} before training."
    )


def used_range(space: gs.Box) -> tuple[np.ndarray, np.ndarray, bool]:
    """What [-1, 1] of a continuous action is mapped to, and whether these are just its bounds.

    The model sees actions cut to [-1, 1], whatever the policy sampled, and what it sees is to be
    what the environment gets. So an entry without bounds takes values in [-1, 1], and one with a
    single bound those up to 2 from it.
    """
    # No number of float32 is further from another than the largest one; such bounds bound nothing.
    with np.errstate(over="ignore", invalid="ignore"):
        lowest, highest = space.low.astype(np.float32), space.high.astype(np.float32)
        finite = np.isfinite(highest - lowest)
    below = ~finite & np.isfinite(lowest) & (np.abs(lowest) < LARGEST)
    above = ~finite & ~below & np.isfinite(highest) & (np.abs(highest) < LARGEST)
    low = np.select([finite | below, above], [lowest, highest - 2], -1).astype(np.float32)
    high = np.select([finite | above, below], [highest, lowest + 2], 1).astype(np.float32)
    return low, high, np.array_equal((low, high), (lowest, highest))


def check_names(keys: list[str], role: Role) -> None:
    for key in keys:
        if keys.count(key) > 1:
            raise SpaceError(
                f"Two entries of the {role} space have the same name {key!r} once nested names "
                "are joined with '/'. Rename one of them."
            )
        hidden = role == "action" and key.startswith(LOG_PREFIX)
        if key in RESERVED or key.startswith(LATENT_PREFIX) or hidden:
            raise SpaceError(
                f"The {role} space uses the name {key!r}, which is reserved (as are "
                f"{', '.join(RESERVED)} and names starting with {LATENT_PREFIX}). Rename it."
            )


def _describe_leaf(space: gymnasium.Space) -> Space:
    if isinstance(space, gs.Discrete):
        return Space("discrete", (), "int32", (int(space.n),))
    if isinstance(space, gs.MultiDiscrete):
        classes = tuple(int(n) for n in space.nvec.flatten())
        return Space("discrete", tuple(space.shape or ()), "int32", classes)
    if isinstance(space, gs.MultiBinary):
        shape = tuple(space.shape or ())
        return Space("discrete", shape, "bool", (2,) * int(np.prod(shape, dtype=int)))
    kind = "image" if space.dtype == np.uint8 else "continuous"
    return Space(kind, tuple(space.shape or ()), str(space.dtype))
