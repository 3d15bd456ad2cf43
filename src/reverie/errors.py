"""The exception of the configuration, and notes on others.

Processes of environments need them without the options, which take longer to import than all else
that such a process has.
"""


class ConfigError(ValueError):
    """A configuration that cannot be used.

    The message is complete: it names the key, the value, where the value came from, what was
    expected and what to do. The command line prints it alone, without a traceback.
    """


class Note(str):
    """What we add to an exception of others, as its note, so that the command explains it.

    Libraries add notes too, such as JAX, which explain nothing.
    """


def is_own(error: BaseException) -> bool:
    """Whether its message was written for users."""
    return type(error).__module__.partition(".")[0] == __name__.partition(".")[0]


def own_notes(error: BaseException) -> list[str]:
    """Those of its notes that are ours."""
    return [note for note in getattr(error, "__notes__", ()) if isinstance(note, Note)]
