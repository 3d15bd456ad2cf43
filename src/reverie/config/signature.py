"""Tells the run folders that this user's trainings made from those of others."""

import hashlib
import hmac
import os
import pathlib
import secrets
from collections.abc import Mapping
from typing import Any

from reverie.config import yaml_text
from reverie.disk import whole_file

SIGNATURE = "signature"
"""Name of the file in a run folder."""


def sign(folder: pathlib.Path, texts: Mapping[str, Any]) -> bool:
    """Marks a run folder as made by this user, with these texts in its configuration.

    Args:
        folder: Run folder.
        texts: Options that may name code or paths.

    Returns:
        False if that is not possible, because there is no room for a key of this user.
    """
    key = _key(make=True)
    if key is None:
        return False
    with whole_file(folder / SIGNATURE) as partial:
        partial.write_text(_digest(key, texts))
    return True


def signed(folder: pathlib.Path, texts: Mapping[str, Any]) -> bool:
    """Whether a training of this user has made a run folder with these texts."""
    key = _key(make=False)
    try:
        found = (folder / SIGNATURE).read_bytes()[:100]
    except OSError:
        return False
    return key is not None and hmac.compare_digest(found, _digest(key, texts).encode())


def _digest(key: bytes, texts: Mapping[str, Any]) -> str:
    content = yaml_text.dump(dict(sorted(texts.items())))
    return hmac.new(key, content.encode(), hashlib.sha256).hexdigest()


def _key(make: bool) -> bytes | None:
    """A secret of this user, which no one else can sign with; None if there is none."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    path = pathlib.Path(state).expanduser() / "reverie" / "key"
    try:
        if make and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial = path.with_name(f"key-{secrets.token_hex(8)}")
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
            try:
                os.link(partial, path)  # Fails where another process was first.
            except FileExistsError:
                pass
            finally:
                partial.unlink()
        key = path.read_bytes()
    except (OSError, RuntimeError):
        return None
    return key if len(key) == 32 else None
