"""The search for the known name that was meant."""

import difflib
from collections.abc import Iterable, Sequence

ELSEWHERE = {
    "config": "configs",
    "total_timesteps": "run.steps",
    "timesteps": "run.steps",
    "max_steps": "run.steps",
    "num_envs": "run.envs",
    "n_envs": "run.envs",
    "learning_rate": "agent.opt.lr",
    "lr": "agent.opt.lr",
    "gamma": "agent.horizon",
    "buffer_size": "replay.size",
    "device": "jax.platform",
    "gradient_steps": "run.train_ratio",
    "eval_freq": "run.eval_every",
    "n_eval_episodes": "run.eval_eps",
    "save_freq": "run.save_every",
    "env_kwargs": "env.gym.kwargs",
    "env_id": "task",
    "verbose": "logger.outputs",
    "tensorboard_log": "logger.outputs",
    "log_dir": "logdir",
    "output_dir": "logdir",
}
"""What options are called in other libraries -> here."""

MOST = 5
"""Names that a message offers."""


def _nearest(name: str, known: Sequence[str]) -> list[str]:
    """Known names that end in `.name`, then those spelt alike, then those whose last part is."""
    last = name.rsplit(".", 1)[-1]
    tails: dict[str, list[str]] = {}
    for candidate in known:
        tails.setdefault(candidate.rsplit(".", 1)[-1], []).append(candidate)
    found = [candidate for candidate in known if candidate.endswith("." + name)]
    found += difflib.get_close_matches(name, known, n=MOST, cutoff=0.6)
    for tail in difflib.get_close_matches(last, tails, n=2, cutoff=0.75):
        found += tails[tail]
    return list(dict.fromkeys(found))[:MOST]


def shorten(shown: str) -> str:
    """A value as a message shows it: long ones lose their middle."""
    return shown if len(shown) <= 120 else f"{shown[:60]}...{shown[-60:]}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """A sentence that offers the nearest known names, or an empty string if none is near."""
    meant = ELSEWHERE.get(name.lower().replace("-", "_"))
    if meant:
        return f" Did you mean {meant}?"
    if "loss_scales." in name:
        return (
            " A loss of your own is scaled by a keyword argument of its function: set "
            "agent.extra.FUNCTION.ARGUMENT."
        )
    found = _nearest(name, list(known))
    return f" Nearest known: {', '.join(found)}." if found else ""
