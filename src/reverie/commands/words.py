"""The words of a command that are not options of a run."""


class UsageError(ValueError):
    """A command line that makes no sense."""


def take(
    words: list[str], name: str, command: str = "", default: str | None = None
) -> tuple[str, list[str]]:
    """Removes `--name value` or `--name=value`; returns the value and the other words.

    The folder of a run may also come first, without its flag.
    """
    named = f"--{name}"
    if name == "logdir" and words and not words[0].startswith("-"):
        return words[0], words[1:]
    for index, word in enumerate(words):
        if word.startswith(f"{named}="):
            return word.partition("=")[2], words[:index] + words[index + 1 :]
        if word == named:
            if index + 1 == len(words) or words[index + 1].startswith("--"):
                raise UsageError(f"{named} needs a value.")
            return words[index + 1], words[:index] + words[index + 2 :]
    if default is None:
        raise UsageError(
            f"reverie {command} needs the folder of a run: reverie {command} FOLDER. "
            f"See reverie {command} --help."
        )
    return default, words


def flag(words: list[str], name: str) -> tuple[bool, list[str]]:
    """Removes `--name`; returns whether it was there, and the other words."""
    return f"--{name}" in words, [word for word in words if word != f"--{name}"]
