"""Starting a new run from parameters of another one, or of the original implementation."""

import dataclasses
import pathlib

import numpy as np

from reverie.agent.agent import Agent
from reverie.config.saved_runs.foreign import read_agent
from reverie.config.saved_runs.resume import Difference, compare
from reverie.config.schema import Config
from reverie.config.sections.agent import AgentConfig
from reverie.errors import ConfigError
from reverie.learner.checkpoints import checkpoint, reference, transfer, tree
from reverie.learner.checkpoints.checkpoint import CheckpointError
from reverie.learner.checkpoints.reference_names import convert
from reverie.learner.compilation.programs import state_shapes

_LATENT = ("agent.dyn.stoch", "agent.dyn.classes")
_NORMALIZERS = {f"{transfer.NORMS}{name}/": f"{name}norm" for name in ("ret", "val", "adv")}


@dataclasses.dataclass(frozen=True)
class Start:
    """What a new run begins with.

    Args:
        arrays: Arrays of the agent's state by name; the others are initialized.
        step: Environment steps after which the checkpoint was saved.
        notes: Messages for the user.
    """

    arrays: dict[str, np.ndarray]
    step: int
    notes: tuple[str, ...]


def choose(config: Config, agent: Agent, path: str, expression: str = ".*") -> Start:
    """Reads the parameters that a new run takes.

    Args:
        config: Resolved configuration of the new run.
        agent: Its agent.
        path: Run folder, checkpoints folder or checkpoint, also of the original implementation.
        expression: Regular expression that the names of the parameters match.

    Raises:
        CheckpointError: If there is no checkpoint, or what is chosen does not fit the agent. The
            message names the options behind it.
    """
    folder, step, arrays = _read(path, config.agent)
    shapes = tree.flatten(state_shapes(agent))
    differences = _differences(folder, config)
    try:
        chosen = transfer.select(arrays, shapes, expression)
    except transfer.MismatchedTransferError as error:
        raise CheckpointError(_advice(error, folder, differences)) from error
    if swapped := [d for d in differences if d.key in _LATENT]:
        raise CheckpointError(_listed(f"The checkpoint {folder} has other latents.", swapped))
    taken = {k: v for k, v in chosen.arrays.items() if not _other_normalizer(k, differences)}
    notes = [f"From {folder}:", *chosen.report()]
    if differences:
        notes.append(_listed("These options of its networks are others:", differences))
    return Start(taken, step, tuple(notes))


def _read(path: str, agent: AgentConfig) -> tuple[pathlib.Path, int, dict[str, np.ndarray]]:
    """A checkpoint's folder, its environment steps, and its arrays under our names."""
    if folder := reference.locate(path):
        step, arrays = reference.read(folder)
        dyn = agent.dyn
        try:
            return folder, step, convert(arrays, (dyn.deter, dyn.stoch, dyn.classes))
        except ValueError:
            # Other sizes than the agent's: it is enough to see which.
            return folder, step, convert(arrays, None)
    saved = checkpoint.newest(path, transfer.TAKEN)
    return saved.folder, saved.step, saved.arrays


def _differences(folder: pathlib.Path, config: Config) -> list[Difference]:
    """Options of the networks that differ, where a configuration lies above the checkpoint."""
    try:
        saved = read_agent(folder.parent.parent)
    except ConfigError:
        return []
    other = config.model_copy(update={"agent": saved})
    return [d for d in compare(other, config) if d.reason]


def _other_normalizer(name: str, differences: list[Difference]) -> bool:
    """Whether an array is of a normalizer that counts something else in the new run."""
    keys = {d.key for d in differences}
    return any(
        name.startswith(prefix) and {f"agent.{option}.impl", f"agent.{option}.debias"} & keys
        for prefix, option in _NORMALIZERS.items()
    )


def _advice(
    error: transfer.MismatchedTransferError, folder: pathlib.Path, differences: list[Difference]
) -> str:
    lines = [f"run.from_checkpoint {folder}: {error}"]
    if differences:
        lines.append(_listed("Options behind it:", differences))
        lines.append(f"`reverie config --from {folder.parent.parent}` prints those that match it.")
    else:
        lines.append("The observations or actions of the two environments differ.")
    if len(error.names) <= transfer.SHOWN:
        lines.append(
            f"To leave these parameters out: --run.from_checkpoint_regex '{error.without()}'. They "
            "then start anew."
        )
    else:
        lines.append(
            "To take only parameters that fit, narrow --run.from_checkpoint_regex, such as "
            "'params/enc/'."
        )
    return "\n".join(lines)


def _listed(title: str, differences: list[Difference]) -> str:
    lines = [f"- {d.key}: {d.saved!r} there, {d.new!r} here" for d in differences]
    return "\n".join([title, *lines])
