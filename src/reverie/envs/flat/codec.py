"""Values of nested gymnasium spaces to and from flat dictionaries of arrays."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces as gs

from reverie.envs.errors import SpaceError, ValueMismatchError
from reverie.envs.flat.convert import decoder, encoder, short
from reverie.envs.flat.leaves import (
    Leaf,
    Path,
    Role,
    check_names,
    children,
    is_text,
    join,
    leaves,
    numel,
    reach,
    walk,
)
from reverie.spaces import LOG_PREFIX


class Codec:
    """Converts between a nested space and a flat dictionary of arrays.

    Built once per environment, so that a step costs no look-ups in spaces.

    Args:
        space: The environment's observation or action space.
        role: What the space is for. Names differ (`obs` or `image` against `action`), and an
            action is never an image.
        size: Height and width that images get; empty keeps them.

    Attributes:
        leaves: The arrays that take part, in the order of the space.
        space: The flat space, a `Dict`.
        text: Keys of texts inside an observation, which are left out.

    Raises:
        SpaceError: The space holds a kind that cannot be converted (such as Graph, or Text that is
            all there is), a reserved name, two entries with the same flat name, or nothing for the
            agent.
    """

    def __init__(self, space: gymnasium.Space, role: Role, size: Sequence[int] = ()):
        self._native = space
        every = list(leaves(space, role, size))
        # Some suites have sensors without entries; nothing can be learned from them.
        self.text = tuple(leaf.key for leaf in every if is_text(leaf.native))
        used = [leaf for leaf in every if numel(leaf.native)]
        check_names([leaf.key for leaf in used], role)
        if self.text and not used:
            raise SpaceError(
                f"The {role} space has nothing but text, {', '.join(map(repr, self.text))} (Text). "
                "The agent does not read: turn it into numbers, such as an embedding in a Box."
            )
        if not used:
            raise SpaceError(f"The {role} space {space} has no entries of size above zero.")
        if all(leaf.key.startswith(LOG_PREFIX) for leaf in used):
            raise SpaceError(
                f"The {role} space has nothing but {', '.join(repr(leaf.key) for leaf in used)}, "
                f"and what begins with {LOG_PREFIX!r} is logged and never reaches the agent. "
                "Give the agent a key without that."
            )
        self.space = gs.Dict({leaf.key: leaf.flat for leaf in used})
        self.leaves = tuple(used)
        every_part = [(path, children(part)) for path, part in walk(space)]
        self._sizes = [(path, len(parts)) for path, parts in every_part if parts is not None]
        self._encoders = [(leaf.key, leaf.path, encoder(leaf)) for leaf in used]
        self._build = _builder(space, (), {leaf.path: leaf for leaf in every})

    def encode(self, value: Any) -> dict[str, Any]:
        """A nested value of the environment as a flat dictionary of arrays and numpy scalars.

        The arrays may share memory with the value.

        Raises:
            ValueMismatchError: An entry is missing, unknown, or of another shape, dtype or range.
        """
        flat: dict[str, Any] = {}
        try:
            for path, size in self._sizes:
                if len(reach(value, path)) != size:
                    raise IndexError
            for key, path, encode in self._encoders:
                flat[key] = encode(reach(value, path))
        except (KeyError, IndexError, TypeError):
            _explain(self._native, value)
            raise
        return flat

    def decode(self, flat: Mapping[str, Any]) -> Any:
        """A flat dictionary of arrays as the nested value that the environment expects."""
        return self._build(flat)


def _builder(space: gymnasium.Space, path: Path, known: dict[Path, Leaf]) -> Callable:
    """The function that assembles the native value from a flat dictionary."""
    parts = children(space)
    if parts is None:
        leaf = known[path]
        if not numel(leaf.native):
            empty = np.zeros(leaf.native.shape or (), leaf.native.dtype)
            return lambda flat: empty
        key, decode = leaf.key, decoder(leaf)
        return lambda flat: decode(flat[key])
    builders = [(name, _builder(child, (*path, name), known)) for name, child in parts]
    if isinstance(space, gs.Dict):
        return lambda flat: {name: build(flat) for name, build in builders}
    return lambda flat: tuple(build(flat) for _, build in builders)


def _explain(space: gymnasium.Space, value: Any) -> None:
    """Raises with the place where a value has other entries than its space; else returns."""
    for path, part in walk(space):
        if (parts := children(part)) is None:
            continue
        inside, want = reach(value, path), [name for name, _ in parts]
        where = f"{join(path)!r} " if path else ""
        if not isinstance(inside, Mapping if isinstance(part, gs.Dict) else tuple | list):
            raise ValueMismatchError(
                f"{where}is {short(inside)}, but its space is a {type(part).__name__} with the "
                f"entries {want}."
            )
        have = list(inside) if isinstance(inside, Mapping) else list(range(len(inside)))
        if set(have) != set(want):
            raise ValueMismatchError(
                f"{where}has the entries {have}, but its space declares {want}. Return every "
                "entry of the space, and no other, in each reset and step."
            )
