"""Runs an agent's pure functions on the devices."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np

from reverie.learner import lag, names, nonfinite
from reverie.learner.compiler import Compiler, background
from reverie.learner.devices import Placement
from reverie.learner.pending import IssuedUpdate
from reverie.learner.programs import POLICIES, Batch, Kind, Programs, local, size
from reverie.spaces import Space

PyTree = Any


class Learner:
    """Holds the agent's state, updates it asynchronously and acts with a snapshot of it.

    `train` returns as soon as the update is queued. Its metrics are read one update late, when the
    device has most likely finished it, and at that moment checked for NaN and infinities.

    Acting never touches the state that the next update overwrites in place. It uses a copy with a
    fixed lag: the parameters after the update *before* the last one that was issued (the initial
    ones until two updates were issued; the newest after `flush_acting`, `load_arrays` and at the
    start). The lag depends on the number of updates alone, never on timing, so that runs repeat.

    The initial state is made in the background, where compiling what makes it takes a while. The
    first call that needs the state waits for it.

    All randomness comes from keys folded from the seed and the number of updates, reports and
    policy calls in each mode, which `counters` returns for a checkpoint.

    Args:
        agent: Static description with the pure functions `init`, `init_carry`, `policy`, `train`
            and `report`; `policy` reads the field `params` of the state alone.
        placement: Devices, from `devices.configure`.
        seed: Seed of the initial parameters and of all sampling.
        dump_folder: The run's folder, where evidence of a NaN is written; None writes nothing.
        fast_compile: Whether to leave optimizations out, which compiles several times faster, to
            slower programs.

    Attributes:
        agent: As given.
        placement: As given.
    """

    def __init__(
        self,
        agent: Any,
        *,
        placement: Placement,
        seed: int = 0,
        dump_folder: pathlib.Path | None = None,
        fast_compile: bool = False,
    ):
        self.agent = agent
        self.placement = placement
        self.platform = placement.platform
        self._dump_folder = dump_folder
        base = jax.random.key(seed)
        init, train, report, act, evaluate = jax.random.split(base, 5)
        self._train_key = placement.put_state(train)
        self._policy_keys = placement.put_policy({"train": act, "eval": evaluate})
        self._programs = Programs(agent, placement, fast_compile)
        self._report_key = placement.put_state(report)
        self._report_carries: dict[str, PyTree] = {}
        self._compiler = Compiler(self._programs)
        self._state: PyTree = None
        self._acting: PyTree = None
        self._next_acting: PyTree = None
        key = placement.put_state(init)
        self._initial = background(lambda: self._initialize(key))
        if placement.platform == "cpu":
            self._copy = background(lambda: self._compiler.compile("copy", {}), self._initial)
        self._carry: PyTree = None
        self._previous: IssuedUpdate | None = None
        self._finished: list[dict[str, float]] = []
        self._counts: dict[str, int] = dict.fromkeys(
            ("updates", "reports", "train_calls", "eval_calls"), 0
        )

    @property
    def state(self) -> PyTree:
        """The agent's state after the newest issued update; overwritten by the next one."""
        self._initial.result()
        return self._state

    @property
    def latent_spaces(self) -> dict[str, Space]:
        """Spaces of the latents that `policy` and `train` give to replay."""
        return self.agent.latent_spaces

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
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(self._programs.example))

    @property
    def array_names(self) -> set[str]:
        """Names of what `arrays` gives."""
        return set(names.flatten(self._programs.example))

    def init_policy(self, num_envs: int) -> PyTree:
        """Recurrent state of the policy for `num_envs` environments before their first step."""
        return self.placement.put_policy(self._programs.init_carry(num_envs))

    def policy(
        self,
        carry: PyTree,
        obs: Batch,
        mode: Literal["train", "eval"] = "train",
    ) -> tuple[PyTree, Batch, Batch]:
        """Chooses actions; waits for them.

        Args:
            carry: From `init_policy` or the previous call.
            obs: Observation keys [N, ...] and the flags `is_first`, `is_last`, `is_terminal` [N].
            mode: What to sample in each mode is the agent's decision.

        Returns:
            The next carry, actions and latents, both numpy arrays [N, ...] by key.

        Raises:
            NonFiniteError: If an action is NaN or infinite.
        """
        count = self._next(f"{mode}_calls")
        key = self._policy_keys[mode]
        act = self._compiler.get(POLICIES[mode], obs)
        self._initial.result()
        carry, *outputs = act(self._acting, carry, obs, key, count)
        actions, latents = jax.device_get(outputs)
        if bad := nonfinite.offending_arrays(actions):
            subject = f"Actions {bad} of the policy"
            nonfinite.stop(self._dump_folder, f"policy-{count}", subject, {**obs, **actions})
        return carry, actions, latents

    def restart_draws(self, mode: Literal["train", "eval"]) -> None:
        """Lets the policy draw again what it drew in its first calls."""
        self._counts[f"{mode}_calls"] = 0

    def prepare(self, kind: Kind, batch: Batch) -> None:
        """Starts to compile a program in the background.

        Without it the first call waits for all of it.

        Args:
            kind: `train`, `report`, or the policy in the mode `train` (`act`) or `eval`
                (`evaluate`).
            batch: Arrays as the call takes them; their values do not matter.
        """
        self._compiler.prepare(kind, batch)

    def ready(self, kind: Kind, batch: Batch) -> bool:
        """Whether a call would not wait for what `prepare` starts; starts it if need be."""
        return self._compiler.ready(kind, batch)

    def wait(self, kind: Kind, batch: Batch) -> None:
        """Waits for what `prepare` starts."""
        self._compiler.get(kind, batch)

    def memory_needs(self) -> dict[Kind, int]:
        """Bytes on a device of each program that is compiled: its arrays and working memory."""
        return self._compiler.memory_needs()

    def close(self) -> None:
        """Gives up what waits to be compiled; the learner is of no use afterwards."""
        self._compiler.close()

    def train(self, batch: Batch) -> Any:
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
        update = self._compiler.get("train", batch)
        if self._carry is None or size(batch) != len(jax.tree.leaves(self._carry)[0]):
            self._carry = self.placement.put_batch(self._programs.init_carry(size(batch)))
        device_batch = self.placement.put_batch(batch)
        if self.placement.platform == "cpu":
            # An update that waits for another one may hold working memory already. An accelerator
            # has to have the next one at hand instead, because issuing it takes long there.
            self.synchronize()
        count = self._next("updates")
        self._state, self._carry, outputs, metrics, acting = update(
            self.state, self._carry, device_batch, self._train_key, count
        )
        self._acting, self._next_acting = self._next_acting, self.placement.put_policy(acting)
        issued = IssuedUpdate(self.updates, batch, metrics)
        previous, self._previous = self._previous, issued
        self._finish(previous)
        return outputs

    def report(self, batch: Batch, source: str = "train") -> dict[str, np.ndarray]:
        """Open-loop predictions and losses of one batch, without an update; waits for them.

        Args:
            batch: As in `train`; its recurrent state continues that of the previous report from
                the same source.
            source: Name of what delivers the batches.
        """
        program = self._compiler.get("report", batch)
        carry = self._report_carries.get(source)
        if carry is None:
            carry = self._programs.init_carry(size(batch))
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

    def flush_acting(self) -> None:
        """Lets the policy act with the newest parameters, without the lag; for evaluation."""
        self._initial.result()
        self._act_with_newest()

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays of the agent's state by name, after the last issued update.

        Raises:
            NonFiniteError: If the last update or one of the arrays is not finite, so that a broken
                state never reaches a checkpoint.
        """
        self.synchronize()
        # On CPU device_get returns views, which the next update would overwrite.
        arrays = {k: np.array(v) for k, v in names.flatten(self.state).items()}
        return self._checked(arrays, self.updates)

    def snapshot(self) -> Callable[[], dict[str, np.ndarray]]:
        """Takes hold of what `arrays` returns, to be fetched later in another thread.

        On CPU this does not wait for the update that is under way. Other devices are faster, and
        have less memory to keep a copy in: there it does.

        Returns:
            Gives the arrays; raises NonFiniteError if one of them is not finite.
        """
        if self.placement.platform != "cpu":
            arrays = self.arrays()
            return lambda: arrays
        # One program, because calls for hundreds of small arrays would hold up the loop.
        copies = self._copy.result()(local(self.state))
        named, updates = list(names.flatten(self.state)), self.updates

        def fetch() -> dict[str, np.ndarray]:
            leaves = jax.tree.leaves(jax.device_get(copies))
            return self._checked(dict(zip(named, leaves, strict=True)), updates)

        return fetch

    def load_arrays(
        self, arrays: Mapping[str, np.ndarray], counters: Mapping[str, int] | None = None
    ) -> None:
        """Replaces arrays of the agent's state, all or some of them.

        Args:
            arrays: Arrays by the names that `arrays` uses; the others stay as they are.
            counters: Counts from `counters`, to go on with the random keys of a saved run.

        Raises:
            names.MismatchError: If a name is unknown or a shape differs.
        """
        self._state = self.placement.put_state(names.replace(self.state, arrays))
        self._carry = None
        self._report_carries.clear()
        self._counts.update(counters or {})
        self.flush_acting()

    def held(self) -> Callable[[], dict[str, np.ndarray]]:
        """Takes hold of what decides the next calls besides the state, as `snapshot` does."""
        fetch = lag.hold(self.state.params, self._acting, self._carry)
        if self.placement.platform == "cpu":
            return fetch
        arrays = fetch()
        return lambda: arrays

    def take_back(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes on with what `held` gave, after `load_arrays`; older checkpoints have none of it."""
        acting = lag.take(arrays, "acting", self.state.params)
        if acting is not None:
            self._acting = jax.device_put(jax.tree.leaves(acting), self.placement.policy)
        carry = lag.take_carry(arrays, self._programs.init_carry)
        self._carry = None if carry is None else self.placement.put_batch(carry)

    def _initialize(self, key: jax.Array) -> None:
        self._state = self._compiler.compile("init", {})(key)
        self._act_with_newest()

    def _act_with_newest(self) -> None:
        # Copies, because the next update overwrites the state.
        leaves = jax.tree.leaves(local(self._state.params))
        self._acting = self._next_acting = jax.device_put(
            leaves, self.placement.policy, may_alias=False
        )

    def _next(self, counter: str) -> np.uint32:
        """The number of calls so far; an array of fixed type, so that nothing is recompiled."""
        self._counts[counter] += 1
        return np.uint32(self._counts[counter] - 1)

    def _checked(self, arrays: dict[str, np.ndarray], updates: int) -> dict[str, np.ndarray]:
        if bad := nonfinite.offending_arrays(arrays):
            nonfinite.stop(self._dump_folder, f"state-{updates}", f"The agent's arrays {bad}")
        return arrays

    def _finish(self, issued: IssuedUpdate | None) -> None:
        if issued is not None:
            self._finished.append(issued.finish(self._dump_folder))
