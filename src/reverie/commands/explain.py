"""What the command says of an error instead of a traceback."""

import errno
import os

from reverie.errors import is_own, own_notes

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
"""What the system answers where files are not to be read or written."""


def explain(error: Exception) -> str | None:
    """The lines for the user, or None where only a traceback tells what went wrong."""
    # What others own or mount read-only is nobody's bug; the error names the file.
    refused = isinstance(error, OSError) and error.filename and error.errno in _REFUSED
    notes = own_notes(error)
    if os.environ.get("REVERIE_DEBUG") or not (is_own(error) or notes or refused):
        return None
    if is_own(error):
        return "\n".join([_without_our_trace(error), *notes])
    lines = [*notes, "REVERIE_DEBUG=1 shows the traceback."]
    # A note on an environment's error tells the error too, one on a failed save does not.
    if not any(str(error) in note for note in notes):
        lines.insert(0, f"{type(error).__name__}: {error}")
    return "\n".join(lines)


def _without_our_trace(error: Exception) -> str:
    """Its message, without the traceback of an environment's process where that raised ours too."""
    message, trace = str(error), str(getattr(error, "trace", "")).strip()
    ours = bool(trace) and trace.splitlines()[-1].startswith("reverie.")
    return message.partition("\n\n")[0] if ours else message
