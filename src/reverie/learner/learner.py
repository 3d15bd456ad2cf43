"""The agent's state and its updates."""

import functools
import pathlib
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from reverie.learner import lag, nonfinite, tree
from reverie.learner.compiler import Compiler, background
from reverie.learner.devices import Placement
from reverie.learner.pending import Batch, IssuedUpdate, MetricVector
from reverie.learner.policy import Params
from reverie.learner.programs import Program, local, narrow, size, specs, state_shapes

PyTree = Any
Arrays = dict[str, np.ndarray]
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
        dump_folder: The run's folder, where evidence of a NaN is written; None writes nothing.
        fast_compile: Whether to leave optimizations out, which compiles several times faster, to
            slower programs.
        compiler: Compiles the programs, in order with others of the run.

    Attributes:
        agent: As given.
        placement: As given.
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
        self._train_key = placement.put_state(train)
        self._report_key = placement.put_state(report)
        self._report_carries: dict[str, PyTree] = {}
        self.shapes = state_shapes(agent)
        self._compiler = compiler or Compiler()
        self._programs = self._make_programs(fast_compile)
        self._state: PyTree = None
        self._carry: PyTree = None
        self._previous: IssuedUpdate | None = None
        self._finished: list[dict[str, float]] = []
        self._counts: dict[str, int] = dict.fromkeys(("updates", "reports"), 0)
        self._acting = self._newest = Params(0, ())
        key = placement.put_state(init)
        self._initial = background(lambda: self._initialize(key))
        if placement.platform == "cpu":
            copy = self._programs["copy"]
            self._copy = background(lambda: self._compiler.compile(copy, {}), self._initial)

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

    def prepare(self, kind: Kind, batch: Batch) -> None:
        """Starts to compile a program in the background.

        Without it the first call waits for all of it.

        Args:
            kind: An update, or a report.
            batch: Arrays as the call takes them; their values do not matter.
        """
        self._compiler.prepare(self._programs[kind], batch)

    def ready(self, kind: Kind, batch: Batch) -> bool:
        """Whether a call would not wait for what `prepare` starts; starts it if need be."""
        return self._compiler.ready(self._programs[kind], batch)

    def wait(self, kind: Kind, batch: Batch) -> None:
        """Waits for what `prepare` starts."""
        self._compiler.get(self._programs[kind], batch)

    def memory_needs(self) -> dict[str, int]:
        """Bytes on a device of each compiled program of the run: arrays and working memory."""
        return self._compiler.memory_needs()

    def update(self, batch: Batch) -> Any:
        """Issues one update and returns without waiting for it.

        Args:
            batch: Replayed sequences [B, K+T, ...] by key, as the replay stream delivers them. The
                arrays must not be changed afterwards.

        Returns:
            The agent's training outputs (fresh latents, priorities) as device arrays that may
            still be being computed.

        Raises:
            DeviceError: If the training devices cannot share the batch evenly.
            NonFiniteError: If the update *before* this one produced a NaN or an infinity. A
                float16 update that the agent skipped is none.
        """
        update = self._compiler.get(self._programs["train"], batch)
        if self._carry is None or size(batch) != len(jax.tree.leaves(self._carry)[0]):
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
        self._acting, self._newest = self._newest, Params(self.updates, local(acting))
        issued = IssuedUpdate(self.updates, batch, metrics)
        previous, self._previous = self._previous, issued
        self._finish(previous)
        return outputs

    def report(self, batch: Batch, source: str = "train") -> Arrays:
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
        # On one device: the others would only repeat it.
        inputs = jax.device_put((carry, batch), self.placement.training[0])
        key, count = self._report_key.addressable_data(0), self._next("reports")
        self._report_carries[source], results = program(local(self.state), *inputs, key, count)
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
        return self._newest if newest else self._acting

    def arrays(self) -> Arrays:
        """All arrays of the agent's state by name, after the last issued update.

        Raises:
            NonFiniteError: If the last update or one of the arrays is not finite, so that a broken
                state never reaches a checkpoint.
        """
        self.synchronize()
        # On CPU device_get returns views, which the next update would overwrite.
        arrays = {k: np.array(v) for k, v in tree.flatten(self.state).items()}
        return self._checked(arrays, self.updates)

    def snapshot(self) -> Callable[[], tuple[Arrays, Arrays]]:
        """Takes hold of what a checkpoint keeps, to be fetched later in another thread.

        On CPU this does not wait for the update that is under way. Other devices are faster, and
        have less memory to keep a copy in: there it does.

        Returns:
            Gives what `arrays` returns, and the arrays by name that decide the next calls besides
            them: parameters that act, and the recurrent state of updates. Raises NonFiniteError
            if one of the former is not finite.
        """
        held = lag.hold(self.state.params, self._acting.leaves, self._carry)
        if self.placement.platform != "cpu":
            both = self.arrays(), held()
            return lambda: both
        # One program, because calls for hundreds of small arrays would hold up the loop.
        copies = self._copy.result()(local(self.state))
        named, updates = list(tree.flatten(self.state)), self.updates

        def fetch() -> tuple[Arrays, Arrays]:
            leaves = jax.tree.leaves(jax.device_get(copies))
            return self._checked(dict(zip(named, leaves, strict=True)), updates), held()

        return fetch

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
            held: What `snapshot` gave besides the arrays; what is missing or does not fit is made
                anew.

        Raises:
            names.MismatchError: If a name is unknown or a shape differs.
        """
        self._state = self.placement.put_state(tree.replace(self.state, arrays))
        self._report_carries.clear()
        self._counts |= {name: counters[name] for name in self._counts if name in counters}
        self._hand_out_newest()
        acting = lag.take(held, "acting", self._state.params)
        if acting is not None:
            self._acting = Params(max(self.updates - 1, 0), jax.tree.leaves(acting))
        carry = lag.take_carry(held, self._init_carry)
        self._carry = None if carry is None else self.placement.put_batch(carry)

    def _initialize(self, key: jax.Array) -> None:
        self._state = self._compiler.compile(self._programs["init"], {})(key)
        self._hand_out_newest()

    def _hand_out_newest(self) -> None:
        # Copies, because the next update overwrites the state.
        leaves = jax.tree.leaves(local(self._state.params))
        copies = jax.device_put(leaves, self.placement.training[0], may_alias=False)
        self._acting = self._newest = Params(self.updates, copies)

    def _init_carry(self, size: int) -> PyTree:
        with narrow():
            return self.agent.init_carry(size)

    def _next(self, counter: str) -> np.uint32:
        """The number of calls so far; an array of fixed type, so that nothing is recompiled."""
        self._counts[counter] += 1
        return np.uint32(self._counts[counter] - 1)

    def _checked(self, arrays: Arrays, updates: int) -> Arrays:
        if bad := nonfinite.offending_arrays(arrays):
            nonfinite.stop(self._dump_folder, f"state-{updates}", f"The agent's arrays {bad}")
        return arrays

    def _finish(self, issued: IssuedUpdate | None) -> None:
        if issued is not None:
            self._finished.append(issued.finish(self._dump_folder))

    def _make_programs(self, fast: bool) -> dict[str, Program]:
        """What makes a state and copies it, an update and a report."""
        agent, shapes, platform = self.agent, self.shapes, self.placement.platform
        whole, part = self.placement.replicated, self.placement.split
        first = SingleDeviceSharding(self.placement.training[0])
        key, count = jax.eval_shape(lambda: jax.random.key(0)), np.uint32(0)

        def of_update(batch: Mapping[str, Any]) -> tuple[Any, ...]:
            self.placement.check_batch(size(batch))
            carry = jax.eval_shape(lambda: agent.init_carry(size(batch)))
            parts = specs((carry, batch), part)
            return (specs(shapes, whole), *parts, specs(key, whole), count)

        def of_report(batch: Mapping[str, Any]) -> tuple[Any, ...]:
            carry = jax.eval_shape(lambda: agent.init_carry(size(batch)))
            return (*specs((shapes, carry, batch, key), first), count)

        copy = functools.partial(jax.tree.map, jnp.copy)
        programs = [
            # Made once: compiling it well would take longer than making it.
            Program(
                "init", agent.init, lambda _: (specs(key, whole),), platform, True,
                out_shardings=whole,
            ),
            Program("copy", copy, lambda _: (specs(shapes, first),), platform, fast),
            Program(
                "train", self._train, of_update, platform, fast,
                donate_argnums=(0, 1), out_shardings=(whole, part, part, whole, whole),
            ),
            Program("report", self._report, of_report, platform, fast),
        ]  # fmt: skip
        return {program.name: program for program in programs}

    def _train(self, state, carry, batch, key, count):
        key = jax.random.fold_in(key, count)
        state, carry, outputs, metrics = self.agent.train(state, carry, batch, key)
        # Copies keep acting parameters out of the buffers that the next update overwrites.
        acting = [jnp.copy(leaf) for leaf in jax.tree.leaves(state.params)]
        return state, carry, outputs, MetricVector.pack(metrics), acting

    def _report(self, state, carry, batch, key, count):
        key = jax.random.fold_in(key, count)
        return self.agent.report(state, carry, batch, key)
