"""Whether environments step in this process or in processes of their own."""

from collections.abc import Callable, Sequence

import cloudpickle
import gymnasium


def choose(
    factories: Sequence[Callable[[], gymnasium.Env]], backend: str, slow: bool = False
) -> tuple[str, str]:
    """Resolves `auto`.

    Args:
        factories: The environments of the run; none is built.
        slow: Whether their steps are known to be worth a process.

    Returns:
        `sync` or `async`, and the reason as a sentence.

    Raises:
        ValueError: An unknown backend, `native`, or `async` with a factory that cannot be pickled.
    """
    if backend == "native":
        raise ValueError(
            "backend='native': these environments have no engine that steps them together. "
            "Choose 'auto', 'sync' or 'async'."
        )
    if backend not in ("auto", "sync", "async"):
        raise ValueError(f"backend={backend!r}: choose 'auto', 'sync', 'async' or 'native'.")
    if backend == "sync":
        return "sync", "as configured."
    if backend == "auto" and len(factories) == 1:
        return "sync", "there is one environment."
    if backend == "auto" and not slow:
        return "sync", "in this process; run.env_backend async gives each its own."
    problem = pickle_problem(factories[0])
    if backend == "auto":
        if problem:
            return "sync", f"{problem}."
        return "async", "environments of this suite are slow, so that each has a process."
    if problem:
        raise ValueError(
            f"backend='async' sends the environment factories to other processes, but "
            f"{problem}. Build everything inside the factory, or use backend='sync'."
        )
    return "async", "as configured."


def pickle_problem(factory: Callable[[], gymnasium.Env]) -> str:
    """Why what makes an environment cannot go to other processes; empty if it can."""
    try:
        cloudpickle.dumps(factory)
    except Exception as error:  # Whatever the objects in it raise.
        return f"the factory {factory!r} cannot be pickled ({error})"
    return ""
