"""Parameters that act: one agent, one set of parameters, one device."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding

from reverie.learner import nonfinite
from reverie.learner.checkpoints import checkpoint, tree
from reverie.learner.checkpoints.checkpoint import Checkpoint, CheckpointError
from reverie.learner.checkpoints.transfer import PARAMS
from reverie.learner.compilation.compiler import Compiler
from reverie.learner.compilation.programs import Batch, Program, size, specs, standard, state_shapes

PyTree = Any
Arrays = dict[str, np.ndarray]
Mode = Literal["train", "eval"]

NAMES: dict[Mode, str] = {"train": "act", "eval": "evaluate"}
"""Program of each mode."""


class Params(NamedTuple):
    """Parameters of an agent: what a learner hands to those who act.

    Attributes:
        version: Number of updates after which they were made.
        leaves: Arrays on a device or on the host, in the order of `jax.tree.leaves`. Taking the
            networks apart at every step would take half as long as the step.
    """

    version: int
    leaves: Sequence[Any]


class Policy:
    """Acts with parameters of an agent on one device, and nothing else.

    It makes no parameters and changes no settings of JAX or of the process. All randomness comes
    from keys folded from the seed and the number of calls in each mode, which `counters` returns
    for a checkpoint.

    Args:
        agent: Static description with the pure functions `init`, `init_carry`, `policy` and
            `expect`, and the `obs_space`.
        params: What it acts with; None if `set_params` gives them before the first step.
        device: Where it acts; by default on the one that JAX prefers.
        seed: Seed of the draws.
        dump_folder: The run's folder, where evidence of a NaN is written; None writes nothing.
        fast_compile: Whether to leave optimizations out, which compiles several times faster, to
            slower programs.
        compiler: Compiles the programs, in order with others of the run.

    """

    def __init__(
        self,
        agent: Any,
        params: Params | None = None,
        *,
        device: Any = None,
        seed: int = 0,
        dump_folder: pathlib.Path | None = None,
        fast_compile: bool = False,
        compiler: Compiler | None = None,
    ):
        self.agent = agent
        # The others are those of the learner.
        _, _, _, *keys = jax.random.split(jax.random.key(seed), 5)
        self.device = device or next(iter(keys[0].devices()))
        self._place = SingleDeviceSharding(self.device)
        self._keys = jax.device_put(dict(zip(NAMES, keys, strict=True)), self.device)
        self._dump_folder = dump_folder
        self._seen = (*agent.obs_space, "is_first")
        self._shapes = state_shapes(agent).params
        self._compiler = compiler or Compiler()
        self._programs = {
            mode: Program(
                name,
                lambda *args, mode=mode: self._act(*args, mode=mode),
                self._inputs,
                self.device.platform,
                fast_compile,
            )
            for mode, name in NAMES.items()
        }
        self._expect = Program(
            "expect", self._expectations, self._latents, self.device.platform, fast_compile
        )
        self._counts = dict.fromkeys((f"{mode}_calls" for mode in NAMES), 0)
        self._params: Params | None = None
        self._leaves: list[jax.Array] = []
        if params is not None:
            self.set_params(params)

    @property
    def version(self) -> int:
        """Number of updates behind its parameters; -1 while it has none."""
        return self._params.version if self._params else -1

    @property
    def counters(self) -> dict[str, int]:
        """Counts that determine the random keys; belongs into every checkpoint."""
        return dict(self._counts)

    def restore(self, counters: Mapping[str, int]) -> None:
        """Goes on with the draws where `counters` was taken; other names are left alone."""
        self._counts |= {name: counters[name] for name in self._counts if name in counters}

    def set_params(self, params: Params) -> None:
        """Acts with other parameters from the next step on; what is the same costs nothing."""
        if params is not self._params:
            leaves = list(params.leaves)
            # Asking for a hundred arrays where they already are takes a millisecond.
            there = all(getattr(leaf, "device", None) == self.device for leaf in leaves)
            self._leaves = leaves if there else jax.device_put(leaves, self.device)
            self._params = params

    def init(self, num: int) -> PyTree:
        """What is remembered of `num` environments before their first step."""
        with standard():
            return jax.device_put(self.agent.init_carry(num), self.device)

    def act(
        self, carry: PyTree, obs: Mapping[str, np.ndarray], mode: Mode = "train"
    ) -> tuple[PyTree, Arrays, Arrays]:
        """Chooses actions; waits for them.

        Args:
            carry: From `init` or the previous call.
            obs: Observation keys [N, ...] and the flag `is_first` [N]; others are ignored.
            mode: What to sample in each mode is the agent's decision.

        Returns:
            The next carry, actions and latents, both numpy arrays [N, ...] by key.

        Raises:
            NonFiniteError: If an action is NaN or infinite.
        """
        counter = f"{mode}_calls"
        count, self._counts[counter] = self._counts[counter], self._counts[counter] + 1
        seen = {key: obs[key] for key in self._seen}
        program = self._compiler.get(self._programs[mode], seen)
        # A number of fixed type, so that nothing is compiled anew.
        carry, *outputs = program(self._leaves, carry, seen, self._keys[mode], np.uint32(count))
        actions, latents = jax.device_get(outputs)
        if bad := nonfinite.offending_arrays(actions):
            subject = f"Actions {bad} of the policy"
            nonfinite.stop(self._dump_folder, f"policy-{count}", subject, {**seen, **actions})
        return carry, actions, latents

    def expect(self, latents: Mapping[str, np.ndarray]) -> Arrays:
        """What the agent expects at latents [N, ...] that `act` gave: arrays [N] by name.

        `reward` on the way into them, the probability to `continue`, and `value`, as far as it has
        heads for them.
        """
        program = self._compiler.get(self._expect, latents)
        return jax.device_get(program(self._leaves, dict(latents)))

    def prepare(self, num: int, mode: Mode = "train") -> None:
        """Starts to compile what acts in `num` environments, in a thread."""
        seen = {key: space.zeros(num) for key, space in self.agent.obs_space.items()}
        seen["is_first"] = np.zeros(num, bool)
        self._compiler.prepare(self._programs[mode], seen)

    def _inputs(self, seen: Batch) -> tuple[Any, ...]:
        leaves = jax.tree.leaves(self._shapes)
        carry = jax.eval_shape(lambda: self.agent.init_carry(size(seen)))
        key = jax.eval_shape(lambda: jax.random.key(0))
        return (*specs((leaves, carry, dict(seen), key), self._place), np.uint32(0))

    def _latents(self, latents: Batch) -> tuple[Any, ...]:
        return specs((jax.tree.leaves(self._shapes), dict(latents)), self._place)

    def _expectations(self, leaves, latents):
        params = jax.tree.unflatten(jax.tree.structure(self._shapes), leaves)
        return self.agent.expect(params, latents)

    def _act(self, leaves, carry, seen, key, count, *, mode):
        params = jax.tree.unflatten(jax.tree.structure(self._shapes), leaves)
        return self.agent.policy(params, carry, seen, jax.random.fold_in(key, count), mode=mode)


def read_params(
    path: str | os.PathLike[str], agent: Any, device: Any = None
) -> tuple[Params, Checkpoint]:
    """Reads the parameters of the newest valid checkpoint, one after the other to a device.

    Args:
        path: Run folder, checkpoints folder or checkpoint.
        agent, device: As of `Policy`.

    Returns:
        The parameters, and the checkpoint with nothing else of the agent in it.

    Raises:
        CheckpointError: If there is none, or parameters are missing or have other shapes.
    """
    shapes = _named_shapes(agent)

    def place(name: str, array: np.ndarray) -> Any:
        if name not in shapes:
            return array
        return jax.device_put(np.asarray(array, shapes[name].dtype), device)

    saved = checkpoint.newest(path, (PARAMS,), place)
    return params_of(saved, agent), saved


def params_of(saved: Checkpoint, agent: Any) -> Params:
    """The parameters in a checkpoint of an agent.

    Raises:
        CheckpointError: If parameters are missing or have other shapes.
    """
    shapes = _named_shapes(agent)
    heads = {_head(name) for name in shapes}
    arrays = {
        name: x
        for name, x in saved.arrays.items()
        # A head that the agent lacks was for training alone.
        if name.startswith(PARAMS) and (not _head(name) or _head(name) in heads)
    }
    saved.need(shapes)
    try:
        tree.check(shapes, arrays)
    except tree.MismatchError as error:
        raise CheckpointError(f"The checkpoint {saved.folder} does not fit: {error}") from error
    return Params(saved.counters.get("updates", 0), [arrays[name] for name in shapes])


def _head(name: str) -> str:
    """The head that an array belongs to; empty if to none."""
    prefix = f"{PARAMS}heads/"
    return name[len(prefix) :].partition("/")[0] if name.startswith(prefix) else ""


def _named_shapes(agent: Any) -> dict[str, Any]:
    return {f"{PARAMS}{k}": x for k, x in tree.flatten(state_shapes(agent).params).items()}
