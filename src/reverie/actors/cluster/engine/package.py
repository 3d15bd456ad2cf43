"""The package Ray, imported and joined as this one wants it."""

import os
from typing import Any

from reverie.errors import ConfigError
from reverie.extras import install

OLDEST = (2, 60)
"""The oldest Ray that this is known to work with."""

MODE = "RAY_AUTH_MODE"
"""Tells Ray whether there are tokens."""

_ENVIRON = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # No GPU is asked for, and those that are here are not to be hidden.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Processes for tasks that never come would take the first seconds of every core.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    # Behind everything else on the machine actors would take minutes to start.
    "RAY_worker_niceness": "0",
}


class ClusterError(ConfigError):
    """Ray is not there, too old, out of reach, or does not fit."""


def import_ray(address: str = "") -> Any:
    """The package, without what it reports about its use to others.

    Args:
        address: As `ray.address`. A new Ray has a token, and one of this machine (`auto`) is shown
            the user's where there is one: as by default, but without a message each time. Other
            addresses are shown it only if RAY_AUTH_MODE says so.

    Raises:
        ClusterError: If it is not installed, or too old.
    """
    for name, value in _ENVIRON.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise ClusterError(f"The package ray is needed: {install('ray')}") from None
    version = tuple(map(int, ray.__version__.split(".")[:2]))
    if version < OLDEST:
        raise ClusterError(
            f"Ray {'.'.join(map(str, OLDEST))} or newer is needed, and ray "
            f"{ray.__version__} is installed: {install('ray')}"
        )
    here = address == "auto" and not address_given()
    if not ray.is_initialized() and (not address or (here and has_token())):
        from ray._raylet import Config  # pyright: ignore[reportAttributeAccessIssue]

        os.environ.setdefault(MODE, "token")
        Config.initialize("")  # As Ray does: whoever has imported it before has no token yet.
    return ray


def address_given() -> str:
    """What RAY_ADDRESS says beside auto, which is what Ray does without it."""
    given = os.environ.get("RAY_ADDRESS", "")
    return "" if given == "auto" else given


def has_token() -> bool:
    """Whether there is a token for Ray clusters here, as `ray start` takes it for a new one."""
    from ray._raylet import (
        AuthenticationTokenLoader,  # pyright: ignore[reportAttributeAccessIssue]
    )

    return AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)


def init(ray: Any, **where: Any) -> str:
    """Joins Ray, which leaves logging, and what is printed, alone; returns its session's folder."""
    context = ray.init(configure_logging=False, log_to_driver=False, **where)
    return context.address_info["session_dir"]


def first_line(error: Exception) -> str:
    """What an error of Ray says, whose messages are long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
