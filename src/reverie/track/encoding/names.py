"""Names of metrics as names of files and as texts in pictures: keys may hold any character."""

import hashlib
import re

LONGEST_FILE = 100
"""Longest name of a file: file systems take 255 bytes, and a step and an ending are added."""

LONGEST_TEXT = 80
"""Longest name in a picture: layouts break when a title or a label is wider than its picture."""


def file_name(key: str) -> str:
    """The name of a file, without an ending, for a key: `report/openloop/x` is `report-openloop-x`.

    Slashes become dashes. Where anything else has to change, a part of the key's hash is added,
    so that two keys never share a file.
    """
    name = re.sub(r"[^A-Za-z0-9._-]", "-", key).lstrip(".")[:LONGEST_FILE]
    if name and name == key.replace("/", "-") and "-" not in key:
        return name
    return f"{name}-{digest(key)}"


def digest(key: str) -> str:
    """Eight characters that tell texts apart."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:8]


def encodable(text: str) -> str:
    """A text that is valid as UTF-8; names of files need not be."""
    return text.encode(errors="backslashreplace").decode()


def printable(text: str) -> str:
    """A text on one line: what cannot be printed, such as a command of terminals, is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def task_title(task: str) -> str:
    """A task as people call it: `CartPole-v1` of `gym_CartPole-v1`, `Target` of `my_env:Target`."""
    for suite in ("gym_", "custom_"):
        task = task.removeprefix(suite)
    return task.rpartition(":")[2]


def plain(text: str) -> str:
    """A text, cut if it is too long, that matplotlib draws as it is, instead of as a formula."""
    text = printable(text)
    if len(text) > LONGEST_TEXT:
        text = text[: LONGEST_TEXT - 1] + "…"
    return text.replace("$", r"\$")
