"""What a learner computes: a state, updates and reports, as programs."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from reverie.learner.compilation.programs import Program, size, specs
from reverie.learner.placement.layout import Layout


@functools.partial(jax.tree_util.register_dataclass, data_fields=["values"], meta_fields=["names"])
@dataclasses.dataclass(frozen=True)
class MetricVector:
    """The metrics of one update as one device array, so that reading them is one transfer.

    Args:
        values: float32 array of shape [len(names)].
        names: Static names, sorted.
    """

    values: jax.Array
    names: tuple[str, ...]

    @classmethod
    def pack(cls, metrics: Mapping[str, jax.Array]) -> "MetricVector":
        """Packs scalars of any type; a value that is not a scalar raises TypeError."""
        keys = tuple(sorted(metrics))
        shaped = {key: jnp.shape(metrics[key]) for key in keys if jnp.shape(metrics[key])}
        if shaped:
            raise TypeError(f"Training metrics have to be scalars, but these have axes: {shaped}.")
        return cls(jnp.stack([jnp.asarray(metrics[key], jnp.float32) for key in keys]), keys)

    def unpack(self) -> dict[str, float]:
        """Waits for the values and returns them by name."""
        return dict(zip(self.names, np.asarray(self.values).tolist(), strict=True))


def make_programs(agent: Any, layout: Layout, fast: bool) -> dict[str, Program]:
    """What makes a state of an agent, hands out parameters, an update and a report, by name."""
    placement, shapes, platform = layout.placement, layout.shapes, layout.placement.platform
    whole, part, alone = placement.replicated, placement.split, layout.alone
    rest, params = layout.shardings(shapes), layout.shardings(jax.tree.leaves(shapes.params))
    params = whole if layout.packs else params
    key, count = jax.eval_shape(lambda: jax.random.key(0)), np.uint32(0)

    def of_update(batch: Mapping[str, Any]) -> tuple[Any, ...]:
        placement.check_batch(size(batch))
        carry = jax.eval_shape(lambda: agent.init_carry(size(batch)))
        return (layout.specs(), *placement.batch_specs((carry, batch)), specs(key, whole), count)

    def of_report(batch: Mapping[str, Any]) -> tuple[Any, ...]:
        carry = jax.eval_shape(lambda: agent.init_carry(size(batch)))
        state = layout.specs(here=True) if layout.cuts else specs(shapes, alone)
        return (state, *specs((carry, batch, key), alone), count)

    def init(key):
        return layout.cut(agent.init(key))

    def train(rest, carry, batch, key, count):
        key = jax.random.fold_in(key, count)
        state, carry, outputs, metrics = agent.train(layout.gather(rest, whole), carry, batch, key)
        acting = layout.acting(state.params)
        return layout.cut(state), carry, outputs, MetricVector.pack(metrics), acting

    def report(rest, carry, batch, key, count):
        key = jax.random.fold_in(key, count)
        return agent.report(layout.gather(rest, alone), carry, batch, key)

    def of_hand_out(_):
        if layout.packs:
            packed = jax.eval_shape(layout.acting, shapes.params)
            return (specs(packed, SingleDeviceSharding(placement.policy)),)
        return (jax.tree.leaves(layout.specs(here=True).params),)

    programs = [
        # Made once: compiling it well would take longer than making it.
        Program("init", init, lambda _: (specs(key, whole),), platform, True, out_shardings=rest),
        Program(
            "train", train, of_update, platform, fast,
            donate_argnums=(0, 1), out_shardings=(rest, part, part, whole, params),
        ),
        Program("report", report, of_report, platform, fast),
        Program(
            "hand_out", layout.hand_out, of_hand_out, platform, fast,
            **({} if layout.packs else {"out_shardings": alone}),
        ),
    ]  # fmt: skip
    return {program.name: program for program in programs}
