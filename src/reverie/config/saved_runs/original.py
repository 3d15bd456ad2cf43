"""The configuration of a run of the original implementation, under our names."""

from collections.abc import Mapping
from typing import Any

from reverie.config.nearest import shorten
from reverie.config.schema import Config
from reverie.config.syntax.keys import flatten, leaves
from reverie.errors import ConfigError

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


def is_original(content: Mapping[Any, Any]) -> bool:
    """Whether a configuration is one of the original implementation."""
    agent = content.get("agent")
    dyn = agent.get("dyn") if isinstance(agent, Mapping) else None
    return isinstance(dyn, Mapping) and "rssm" in dyn


def original_options(content: Mapping[Any, Any]) -> tuple[dict[str, Any], list[str]]:
    """The options of an original run under our names: numbers, shapes, choices and the task.

    Options that do not concern the agent and have no counterpart here are left out.

    Returns:
        The options, and what is left out of those that exist here.

    Raises:
        ConfigError: Its agent is one that Reverie does not have.
    """
    found, rest, known = {}, [], leaves(Config)
    suite = str(content.get("task", "")).partition("_")[0]
    for key, value in flatten(content):
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


def _check_only(key: str, value: Any) -> None:
    for name, values in _ONLY.items():
        if key.endswith(f".{name}") and value not in values:
            raise ConfigError(
                f"The original run has {key} = {shorten(repr(value))}, which Reverie does not "
                f"have: only {' or '.join(map(repr, values))}."
            )
