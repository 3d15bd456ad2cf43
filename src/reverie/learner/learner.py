"""The agent's state and its updates."""

import pathlib
import types
from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np

from reverie.learner import nonfinite
from reverie.learner.acting import Acting
from reverie.learner.checkpoints import tree
from reverie.learner.compilation.compiler import Compiler, background
from reverie.learner.compilation.programs import size, standard, state_shapes
from reverie.learner.placement.devices import Placement
from reverie.learner.placement.layout import Layout
from reverie.learner.policy import Arrays, Params, PyTree
from reverie.learner.updating import MetricVector, make_programs

Kind = Literal["train", "report"]


class Learner:
    """Holds the agent's state and updates it asynchronously.

    `update` returns as soon as the update is queued. Its metrics are read one update late, when
    the device has most likely finished it, and at that moment checked for NaN and infinities.

    The parameters that it hands out for acting are copies, because the next update overwrites the
    state in place. They have a fixed lag, which counts updates and never time, so that runs repeat.

    The initial state is made in the background, and waited for by the first call that needs it.

    All randomness comes from keys folded from the seed and the number of updates and reports,
    which `counters` returns for a checkpoint.

    Args:
        agent: Static description with the pure functions `init`, `init_carry`, `train` and
            `report`.
        placement: Devices, from `devices.configure`.
        seed: Seed of the initial parameters and of all sampling.
        dump_folder, fast_compile, compiler: As of `Policy`.

    Attributes:
        shapes: The agent's state, as shapes and types.
    """

    def __init__(
        self,
        agent: Any,
        *,
        placement: Placement,
        seed: int = 0,
        dump_folder: pathlib.Path | None = None,
        fast_compile: bool = False,
        compiler: Compiler | None = None,
    ):
        self.agent = agent
        self.placement = placement
        self._dump_folder = dump_folder
        # The other two are those of the policy.
        init, train, report, _, _ = jax.random.split(jax.random.key(seed), 5)
        self.shapes = state_shapes(agent)
        self._layout = Layout(self.shapes, placement)
        self._train_key = placement.put_state(train)
        self._report_key = jax.device_put(report, self._layout.alone)
        self._report_carries: dict[str, PyTree] = {}
        self._compiler = compiler or Compiler()
        self._programs = make_programs(agent, self._layout, fast_compile)
        self._state: PyTree = None
        self._carry: PyTree = None
        # Number, batch and metrics of the last update, until these are there.
        self._previous: tuple[int, Arrays, MetricVector] | None = None
        self._finished: list[dict[str, float]] = []
        self._counts: dict[str, int] = dict.fromkeys(("updates", "reports"), 0)
        self._acting = Acting(self._layout, lambda: self._hand_out.result())
        key = placement.put_state(init)
        self._initial = background(lambda: self._initialize(key))
        if self._layout.cuts or self._layout.packs:
            hand_out = self._programs["hand_out"]
            self._hand_out = background(lambda: self._compiler.compile(hand_out, {}), self._initial)

    @property
    def state(self) -> PyTree:
        """The agent's state after the newest issued update; overwritten by the next one."""
        self._initial.result()
        return self._state

    @property
    def updates(self) -> int:
        """Number of updates issued so far, including those before a resume."""
        return self._counts["updates"]

    @property
    def counters(self) -> dict[str, int]:
        """Counts that determine the random keys; belongs into every checkpoint."""
        return dict(self._counts)

    @property
    def nbytes(self) -> int:
        """Bytes of the agent's state: parameters, optimizer and normalizers."""
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(self.shapes))

    @property
    def array_names(self) -> set[str]:
        """Names of what `arrays` gives."""
        return set(tree.flatten(self.shapes))

    def prepare(self, kind: Kind, batch: Arrays) -> None:
        """Starts to compile a program in the background.

        Without it the first call waits for all of it.

        Args:
            kind: An update, or a report.
            batch: Arrays as the call takes them; their values do not matter.
        """
        self._compiler.prepare(self._programs[kind], batch)

    def ready(self, kind: Kind, batch: Arrays) -> bool:
        """Whether a call would not wait for what `prepare` starts; starts it if need be."""
        return self._compiler.ready(self._programs[kind], batch)

    def wait(self, kind: Kind, batch: Arrays) -> None:
        """Waits for what `prepare` starts."""
        self._compiler.get(self._programs[kind], batch)

    def memory_needs(self) -> dict[str, int]:
        """Bytes on a device of each compiled program of the run: arrays and working memory."""
        return self._compiler.memory_needs()

    def update(self, batch: Arrays) -> Any:
        """Issues one update and returns without waiting for it.

        Args:
            batch: Replayed sequences [B, K+T, ...] by key, as the replay stream delivers them. The
                arrays must not be changed afterwards. Of several processes each gives its rows.

        Returns:
            The agent's training outputs (fresh latents, priorities) for these sequences, as device
            arrays that may still be being computed.

        Raises:
            DeviceError: If the training devices cannot share the batch evenly.
            NonFiniteError: If the update *before* this one produced a NaN or an infinity. A
                float16 update that the agent skipped is none.
        """
        update = self._compiler.get(self._programs["train"], batch)
        rows = size(batch) * self.placement.processes
        if self._carry is None or rows != len(jax.tree.leaves(self._carry)[0]):
            self._carry = self.placement.put_batch(self._init_carry(size(batch)))
        device_batch = self.placement.put_batch(batch)
        if self.placement.platform == "cpu":
            # An update that waits for another one may hold working memory already. An accelerator
            # has to have the next one at hand instead, because issuing it takes long there.
            self.synchronize()
        count = self._next("updates")
        self._state, self._carry, outputs, metrics, acting = update(
            self.state, self._carry, device_batch, self._train_key, count
        )
        self._acting.push(self.updates, acting)
        previous, self._previous = self._previous, (self.updates, batch, metrics)
        self._finish(previous)
        return self.placement.local(outputs)

    def report(self, batch: Arrays, source: str = "train") -> Arrays:
        """Open-loop predictions and losses of one batch, without an update; waits for them.

        Args:
            batch: As in `update`; its recurrent state continues that of the previous report from
                the same source.
            source: Name of what delivers the batches.
        """
        program = self._compiler.get(self._programs["report"], batch)
        carry = self._report_carries.get(source)
        if carry is None:
            carry = self._init_carry(size(batch))
        # On one device, where it has all of the state: the others would only repeat it.
        inputs = jax.device_put((carry, batch), self._layout.alone)
        state, count = self._layout.here(self.state), self._next("reports")
        key = self._report_key
        with jax.debug_nans(False):  # What is unknown in a report is NaN.
            self._report_carries[source], results = program(state, *inputs, key, count)
        return jax.device_get(results)

    def pop_metrics(self) -> list[dict[str, float]]:
        """Metrics of the updates that were checked since the last call, oldest first."""
        finished, self._finished = self._finished, []
        return finished

    def synchronize(self) -> None:
        """Waits for the last issued update and checks it.

        Raises:
            NonFiniteError: If it produced a NaN or an infinity.
        """
        previous, self._previous = self._previous, None
        self._finish(previous)

    def acting(self, newest: bool = False) -> Params:
        """Parameters for those who act.

        Args:
            newest: Whether to give those after the last update that was issued; else they are
                those after the update *before* it. Until two updates were made since the start or
                a `load`, these are the ones of the start or of the `load`.
        """
        self._initial.result()
        return self._acting.get(newest)

    def arrays(self) -> Arrays:
        """All arrays of the agent's state by name, after the last issued update.

        Raises:
            NonFiniteError: If the last update or one of the arrays is not finite, so that a broken
                state never reaches a checkpoint.
        """
        self.synchronize()
        arrays = self._layout.fetch(self.state)
        if bad := nonfinite.offending_arrays(arrays):
            nonfinite.stop(self._dump_folder, f"state-{self.updates}", f"The agent's arrays {bad}")
        return arrays

    def held(self, first: bool = True) -> Arrays:
        """Arrays by name that decide the next calls besides the state, for a checkpoint.

        Args:
            first: Whether to give the parameters that act, which all processes of a run share, and
                not the recurrent state of updates alone.
        """
        carry = tree.flatten(self.placement.local(self._carry))
        named = {f"carry/{name}": x for name, x in carry.items()}
        if first:
            leaves = zip(tree.flatten(self.shapes.params), self.acting().leaves, strict=True)
            named |= {f"acting/{name}": x for name, x in leaves}
        return {name: np.array(x) for name, x in named.items()}

    def load(
        self,
        arrays: Mapping[str, np.ndarray],
        counters: Mapping[str, int] = types.MappingProxyType({}),
        held: Mapping[str, np.ndarray] = types.MappingProxyType({}),
    ) -> None:
        """Replaces arrays of the agent's state, all or some of them.

        Args:
            arrays: Arrays by the names that `arrays` uses; the others stay as they are.
            counters: Counts from `counters`, to go on with the random keys of a saved run; other
                names are left alone.
            held: What `held` gave; what is missing or does not fit is made anew.

        Raises:
            tree.MismatchError: If a name is unknown or a shape differs.
        """
        self._initial.result()
        kept = self._layout.fetch(self.state) if self.array_names - set(arrays) else {}
        state = tree.replace(self.shapes, {**kept, **arrays})
        self._state = self._layout.put(state, self.shapes)
        self._report_carries.clear()
        self._counts |= {name: counters[name] for name in self._counts if name in counters}
        self._acting.restart(self.updates, self._state.params)
        acting = _taken(held, "acting", self.shapes.params)
        if acting is not None:
            self._acting.resume(max(self.updates - 1, 0), jax.tree.leaves(acting))
        sizes = [len(x) for name, x in held.items() if name.startswith("carry/")]
        carry = _taken(held, "carry", self._init_carry(sizes[0])) if sizes else None
        self._carry = None if carry is None else self.placement.put_batch(carry)

    def _initialize(self, key: jax.Array) -> None:
        self._state = self._compiler.compile(self._programs["init"], {})(key)
        self._acting.restart(self.updates, self._state.params)

    def _init_carry(self, size: int) -> PyTree:
        with standard():
            return self.agent.init_carry(size)

    def _next(self, counter: str) -> np.uint32:
        """The number of calls so far; an array of fixed type, so that nothing is recompiled."""
        self._counts[counter] += 1
        return np.uint32(self._counts[counter] - 1)

    def _finish(self, issued: tuple[int, Arrays, MetricVector] | None) -> None:
        """Waits for the metrics of an update and checks them."""
        if issued is None:
            return
        number, batch, vector = issued
        metrics = vector.unpack()
        if bad := nonfinite.offending_metrics(metrics):
            event, subject = f"update-{number}", f"Metrics {bad}"
            nonfinite.stop(self._dump_folder, event, subject, batch, metrics)
        if nonfinite.skipped(metrics):
            # An overflowed gradient has no norm; its infinity would hide those of other updates.
            metrics = {name: value for name, value in metrics.items() if np.isfinite(value)}
        self._finished.append(metrics)


def _taken(held: Mapping[str, np.ndarray], prefix: str, like: PyTree) -> PyTree | None:
    """A tree like another one out of what `held` gave; None unless all of it is there and fits."""
    try:
        found = {name: held[f"{prefix}/{name}"] for name in tree.flatten(like)}
        return tree.replace(like, found)
    except (KeyError, tree.MismatchError):
        return None
