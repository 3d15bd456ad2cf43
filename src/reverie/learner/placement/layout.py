"""How the agent's state lies on the training devices: a copy on each, or cut over neighbours.

A state that is cut takes each device a part of its memory. At rest every array but the smallest is
flat and padded, so that each neighbour has exactly an even part of it. An update puts parameters
and slow copies together once, at its beginning: left to itself, XLA gathers them anew in every step
of its loops over time. What only the optimizer reads stays cut.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from reverie.learner.checkpoints import tree
from reverie.learner.compilation.programs import PyTree, local
from reverie.learner.placement.devices import Placement

LEAST = 1024
"""Smaller arrays are not worth an exchange: every device has them."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the arrays of an agent's state are, between updates and inside of them.

    Args:
        shapes: The state, as shapes and types.
        placement: The training devices.
    """

    shapes: PyTree
    placement: Placement

    @property
    def cuts(self) -> bool:
        """Whether devices hold parts of the state."""
        return self.placement.shards > 1

    @functools.cached_property
    def packs(self) -> bool:
        """Whether parameters that act leave an update as one vector.

        On a CPU another device acts, and a hundred small copies would take a twentieth of the time
        of a small agent; on an accelerator they stay where they are.
        """
        types = {x.dtype for x in jax.tree.leaves(self.shapes.params)}
        return self.placement.platform == "cpu" and not self.cuts and len(types) == 1

    @property
    def alone(self) -> Any:
        """Where reports are computed: on one device, or on those that hold the parts."""
        if self.cuts:
            return self.placement.local_sharding(self.placement.replicated)
        return SingleDeviceSharding(self.placement.here[0])

    def cut(self, whole: PyTree) -> PyTree:
        """Arrays as they are at rest, of whole ones; of the host, or inside a program."""
        return jax.tree.map(self._cut, whole)

    def join(self, rest: PyTree, like: PyTree) -> PyTree:
        """Whole arrays of those at rest, which have the shapes of others."""
        return jax.tree.map(
            lambda x, s: x[: s.size].reshape(s.shape) if self._is_cut(s) else x, rest, like
        )

    def gather(self, rest: PyTree, everywhere: Any) -> PyTree:
        """As `join` of a state, inside a program: what networks are made of, on every device.

        Args:
            rest: The state at rest.
            everywhere: What replicates an array over the devices of the program.
        """
        if not self.cuts:
            return rest

        def whole(path: Any, x: jax.Array) -> jax.Array:
            if getattr(path[0], "name", "") == "opt":
                return x
            return jax.lax.with_sharding_constraint(x, everywhere)

        return self.join(jax.tree_util.tree_map_with_path(whole, rest), self.shapes)

    def shardings(self, like: PyTree) -> PyTree:
        """Where arrays at rest are that have these shapes when they are whole."""
        placed = self.placement
        return jax.tree.map(
            lambda x: placed.sharded if self._is_cut(x) else placed.replicated, like
        )

    def specs(self, here: bool = False) -> PyTree:
        """The state at rest as placed shapes and types, of all processes or as it lies here."""
        rest, where = jax.eval_shape(self.cut, self.shapes), self.shardings(self.shapes)
        if here:
            where = jax.tree.map(self.placement.local_sharding, where)
        return jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), rest, where
        )

    def put(self, whole: PyTree, like: PyTree) -> PyTree:
        """Whole arrays of the host to the devices, at rest."""
        return self.placement.put_state(self.cut(whole), self.shardings(like))

    def here(self, rest: PyTree) -> PyTree:
        """What reports take of arrays at rest."""
        return self.placement.local(rest) if self.cuts else local(rest)

    def acting(self, params: PyTree) -> list[Any]:
        """Copies of parameters for `hand_out`, inside a program: updates overwrite the state."""
        leaves = jax.tree.leaves(self.cut(params))
        if self.packs:
            return [jnp.concatenate([leaf.reshape(-1) for leaf in leaves])]
        return [jnp.copy(leaf) for leaf in leaves]

    def hand_out(self, leaves: list[Any]) -> list[Any]:
        """What `acting` gave as the leaves of the parameters, inside a program."""
        like = jax.tree.leaves(self.shapes.params)
        if not self.packs:
            return self.join(leaves, like)
        ends = np.cumsum([x.size for x in like])
        parts = jnp.split(leaves[0], ends[:-1])
        return [part.reshape(x.shape) for part, x in zip(parts, like, strict=True)]

    def copied(self, leaves: list[Any]) -> list[Any]:
        """As `here`, but copies, in other memory than that of the state."""
        leaves = self.here(leaves)
        where = [leaf.sharding for leaf in leaves] if self.cuts else self.placement.here[0]
        # It compiles nothing, as a copy of each shape would.
        return jax.device_put(leaves, where, may_alias=False)

    def fetch(self, rest: PyTree) -> dict[str, np.ndarray]:
        """Copies of the arrays of a state at rest on the host, by name."""
        # On CPU device_get returns views, which the next update would overwrite.
        found = jax.tree.map(np.array, self.placement.local(rest))
        return tree.flatten(self.join(found, self.shapes))

    def _is_cut(self, x: Any) -> bool:
        return self.cuts and x.size >= LEAST

    def _cut(self, x: Any) -> Any:
        if not self._is_cut(x):
            return x
        pad = np.pad if isinstance(x, np.ndarray) else jnp.pad
        return pad(x.reshape(-1), (0, -x.size % self.placement.shards))
