"""Options in the folders of others: read as data, whoever wrote them."""

import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from reverie.config import text
from reverie.config.agent import AgentConfig
from reverie.config.errors import ConfigError, shorten
from reverie.config.leaves import groups, leaves
from reverie.config.overlay import Overlay
from reverie.config.schema import Config

# Options of the original implementation with the only value that this one has.
_ONLY = {
    "act": ("silu",),
    "norm": ("rms",),
    "winit": ("trunc_normal_in",),
    "output": ("binary", "symexp_twohot"),
    "typ": ("simple", "rssm"),
    "policy_dist_disc": ("categorical",),
    "policy_dist_cont": ("bounded_normal",),
    "repl_loss.slowtar": (False,),
}
_RENAMED = {"pillow": "bilinear"}
# Of the original alone, or of machines: nothing of them belongs to an agent. It has the option
# policy.unimix and never uses it.
_SKIPPED = ("jax.", "logger.", "agent.policy.unimix")


def read_options(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The options in a saved configuration by dotted key, as they were written.

    Unlike in files that users write, keys are whole paths and nothing refers to anything else.

    Raises:
        ConfigError: The file cannot be read, or a key is no option.
    """
    content = dict(_flatten(text.read(path, saved=True)))
    if unknown := sorted(set(content) - set(leaves(Config))):
        raise ConfigError(
            f"The configuration file {os.fspath(path)} holds {shorten(repr(unknown[0]))}, which is "
            "no option of this version of Reverie. Remove the line if it is of another version."
        )
    return content


def is_reference(content: Mapping[Any, Any]) -> bool:
    """Whether a configuration is one of the original implementation."""
    agent = content.get("agent")
    dyn = agent.get("dyn") if isinstance(agent, Mapping) else None
    return isinstance(dyn, Mapping) and "rssm" in dyn


def reference_options(content: Mapping[Any, Any]) -> tuple[dict[str, Any], list[str]]:
    """The options of an original run under our names: numbers, shapes, choices and the task.

    Options that do not concern the agent and have no counterpart here are left out.

    Returns:
        The options, and what is left out of those that exist here.

    Raises:
        ConfigError: Its agent is one that Reverie does not have.
    """
    found, rest, known = {}, [], leaves(Config)
    suite = str(content.get("task", "")).partition("_")[0]
    for key, value in _flatten_all(content):
        ours = key.replace("agent.dyn.rssm.", "agent.dyn.")
        if ours.startswith("agent."):
            _check_only(ours, value)
        if ours not in known or ours.startswith(_SKIPPED):
            continue
        if ours.startswith("env.") and not ours.startswith(f"env.{suite}."):
            continue
        value = _RENAMED.get(value, value) if isinstance(value, str) else value
        try:
            if known[ours].plain or ours == "task":
                found[ours] = known[ours].validate(value, "the original run")
        except ConfigError as error:
            if ours.startswith("agent."):
                raise
            rest.append(str(error))
    # There, sequences of replay are as long as either needs.
    longest = found.get("consec_train", 1) * found.get("batch_length", 64)
    if found.get("consec_report", 1) * found.get("report_length", 32) > longest:
        rest.append(f"report_length = {found['report_length']}, longer than sequences of replay.")
        found |= {"consec_report": 1, "report_length": longest}
    return found, rest


def from_folder(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], list[str]]:
    """Options that match the run in a folder, of Reverie or of the original implementation.

    Returns:
        The options, and messages about those that were left out.

    Raises:
        ConfigError: There is no run in the folder, or its configuration is damaged.
    """
    path = pathlib.Path(folder).expanduser() / "config.yaml"
    content = text.read(path, saved=True)
    if is_reference(content):
        return reference_options(content)
    return {k: v for k, v in read_options(path).items() if k != "logdir"}, []


def read_agent(path: str | os.PathLike[str]) -> AgentConfig:
    """The options of the agent in a saved configuration, of Reverie or of the original.

    Raises:
        ConfigError: The file is damaged, or the agent is one that Reverie does not have.
    """
    content = text.read(path, saved=True)
    options = reference_options(content)[0] if is_reference(content) else read_options(path)
    overlay = Overlay(Config)
    overlay.update({k: v for k, v in options.items() if k.startswith("agent.")}, f"file {path}")
    return Config.from_overlay(overlay).agent


def _check_only(key: str, value: Any) -> None:
    for name, values in _ONLY.items():
        if key.endswith(f".{name}") and value not in values:
            raise ConfigError(
                f"The original run has {key} = {shorten(repr(value))}, which Reverie does not "
                f"have: only {' or '.join(map(repr, values))}."
            )


def _flatten(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        key = f"{prefix}{name}"
        if key in groups(Config) and isinstance(value, Mapping):
            yield from _flatten(value, f"{key}.")
        else:
            yield key, value


def _flatten_all(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flatten_all(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
