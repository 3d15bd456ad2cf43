"""What a gymnasium space looks like once it is flat: one named `Leaf` per array.

Nested Dict and Tuple spaces become names joined with `/`; every entry becomes a float32 or uint8
`Box`, a `Discrete` or `MultiDiscrete` counting from 0, or a `MultiBinary`.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces as gs

from reverie.envs.errors import SpaceError
from reverie.envs.images import Picture, picture
from reverie.spaces import LATENT_PREFIX, LOG_PREFIX, RESERVED, Space, is_mask

Role = Literal["observation", "action"]
Path = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One array inside a nested gymnasium space.

    Args:
        key: Its name in the flat dictionary, path entries joined with `/`.
        path: Where it lies in the nested value.
        native: The space that the environment declared.
        flat: The space of the converted value: `Box` of float32 or uint8, `Discrete`,
            `MultiDiscrete` or `MultiBinary`, always counting from 0.
        picture: How it becomes an image; None if it is none, or is one already.
    """

    key: str
    path: Path
    native: gymnasium.Space
    flat: gymnasium.Space
    picture: Picture | None = None

    def raw(self, value: Any) -> np.ndarray:
        """This entry of a nested value, as float32."""
        for part in self.path:
            value = value[part]
        return np.asarray(value, np.float32)

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
    if not isinstance(space, gs.Dict):
        raise TypeError(
            f"Expected a flat Dict space, got {space}. Call reverie.envs.wrappers.wrap first."
        )
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


def leaves(space: gymnasium.Space, role: Role) -> Iterator[Leaf]:
    if isinstance(space, gs.Dict):
        root: Path = ()
    elif isinstance(space, gs.Tuple):
        root = ("action" if role == "action" else "obs",)
    else:
        flat = _flat_space(space, role, role)
        image = isinstance(flat, gs.Box) and flat.dtype == np.uint8
        key = "action" if role == "action" else "image" if image else "obs"
        yield Leaf(key, (), space, flat, _picture(space, role, role))
        return
    for path, leaf in _walk(space, ()):
        key = join((*root, *path))
        # Text beside other observations is left out; alone, or as an action, it is refused.
        ignored = role == "observation" and is_text(leaf)
        flat = leaf if ignored else _flat_space(leaf, role, key)
        yield Leaf(key, path, leaf, flat, _picture(leaf, role, key))


def batched(leaf: Leaf, num: int) -> Leaf:
    """The same entry of `num` environments as one array [num, ...]."""
    return dataclasses.replace(
        leaf, native=_repeated(leaf.native, num), flat=_repeated(leaf.flat, num)
    )


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


def join(path: Path) -> str:
    return "/".join(str(part) for part in path)


def _walk(space: gymnasium.Space, path: Path) -> Iterator[tuple[Path, gymnasium.Space]]:
    parts = children(space)
    if parts is None:
        yield path, space
        return
    for name, child in parts:
        yield from _walk(child, (*path, name))


def _repeated(space: gymnasium.Space, num: int) -> gymnasium.Space:
    """`num` times the space on a new first axis."""
    shape = (num, *(space.shape or ()))
    if isinstance(space, gs.Discrete):
        start = np.full(num, space.start, space.dtype)
        return gs.MultiDiscrete(np.full(num, space.n), dtype=space.dtype, start=start)
    if isinstance(space, gs.MultiDiscrete):
        nvec, start = (np.broadcast_to(each, shape) for each in (space.nvec, space.start))
        return gs.MultiDiscrete(nvec, dtype=space.dtype, start=start)
    if isinstance(space, gs.MultiBinary):
        return gs.MultiBinary(shape)
    if isinstance(space, gs.Box):
        low, high = (np.broadcast_to(bound, shape) for bound in (space.low, space.high))
        return gs.Box(low, high, dtype=space.dtype.type)
    # What has no flat form was refused before.
    return space


def _picture(space: gymnasium.Space, role: Role, key: str) -> Picture | None:
    if not isinstance(space, gs.Box) or role == "action" or is_mask(key):
        return None
    return None if key.startswith(LOG_PREFIX) else picture(space)


def _flat_space(space: gymnasium.Space, role: Role, key: str) -> gymnasium.Space:
    if isinstance(space, gs.Discrete):
        return gs.Discrete(int(space.n))
    if isinstance(space, gs.MultiDiscrete):
        return gs.MultiDiscrete(space.nvec, dtype=np.int32)
    if isinstance(space, gs.MultiBinary):
        return gs.MultiBinary(space.shape)
    mask = role == "observation" and is_mask(key)
    if isinstance(space, gs.Box) and (space.dtype == bool or (mask and _is_binary(space))):
        return gs.MultiBinary(space.shape)
    if isinstance(space, gs.Box) and space.dtype is not None and space.dtype.kind in "fiu":
        if found := _picture(space, role, key):
            return gs.Box(0, 255, found.shape, np.uint8)
        if role == "observation" and space.dtype == np.uint8 and len(space.shape) == 3:
            return gs.Box(0, 255, space.shape, np.uint8)
        with np.errstate(over="ignore"):
            low, high = space.low.astype(np.float32), space.high.astype(np.float32)
        return gs.Box(low, high, space.shape, np.float32)
    raise SpaceError(
        f"The {role} {key!r} is a {type(space).__name__} space, which the agent cannot use: "
        f"{space}. Use Box, Discrete, MultiDiscrete or MultiBinary, alone or inside Dict and "
        "Tuple; convert or drop this entry with gymnasium.wrappers.Transform"
        f"{role.capitalize()} before training."
    )


def _is_binary(space: gs.Box) -> bool:
    """Whether a space goes from 0 to 1, as action masks are often declared."""
    return bool((space.low == 0).all() and (space.high == 1).all())


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
