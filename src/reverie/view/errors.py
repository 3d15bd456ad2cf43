"""Errors in words for the page."""

import sys
import traceback

from reverie.config.errors import is_own, own_notes


def told(error: Exception) -> str:
    """What the page shows: the message of ours alone, of others with their type.

    The traceback of others goes to the terminal.
    """
    if is_own(error):
        return "\n".join([str(error), *own_notes(error)])
    traceback.print_exception(error, file=sys.stderr)
    return f"{type(error).__name__}: {error}. The terminal of `reverie view` shows where."
