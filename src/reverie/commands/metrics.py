"""What `reverie metrics` prints: docs/metrics.md, and the newest values of a run beside it."""

import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reverie.commands.words import UsageError
from reverie.track.logger import RESERVED
from reverie.track.runs.status import is_run
from reverie.track.sinks.format import format_number
from reverie.track.sinks.jsonl import METRICS, SCORES, read_jsonl

PACKAGE = pathlib.Path(__file__).parents[1]
PAGES = (PACKAGE / "metrics.md", PACKAGE.parents[1] / "docs" / "metrics.md")
"""Where the page lies in an installed package, and in a clone."""


class Entry(NamedTuple):
    """A row of the page.

    Attributes:
        section: Its heading.
        names: Of metrics; KEY and N stand for anything.
        said: What they are, and what to look for.
    """

    section: str
    names: tuple[str, ...]
    said: tuple[str, ...]


def print_metrics(words: Sequence[str]) -> None:
    """Prints the metrics with all words in their names; a word may be the folder of a run.

    Raises:
        UsageError: If no metric has such a name, or there are several folders.
    """
    folders = [word for word in words if is_run(pathlib.Path(word).expanduser())]
    parts = [word for word in words if word not in folders]
    if len(folders) > 1:
        raise UsageError(f"reverie metrics takes one run; {folders[1]} is one too many.")
    values = newest(pathlib.Path(folders[0]).expanduser()) if folders else {}
    found = entries()
    if folders:
        found = _logged(found, values)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("metric", no_wrap=True)
    if folders:
        table.add_column("newest", no_wrap=True, justify="right")
    table.add_column("meaning")
    table.add_column("look for")
    section = ""
    for entry in found:
        names = [name for name in entry.names if all(_is_in(part, name) for part in parts)]
        if names and entry.section != section:
            section = entry.section
            table.add_row()
            table.add_row(Text(section, "bold"))
        if names:
            numbers = ["\n".join(format_number(values[x]) for x in names)] if folders else []
            table.add_row(*map(Text, ("\n".join(names), *numbers, *entry.said)))
    if not table.rows:
        names = f"has {' and '.join(parts)} in its name"
        if folders:
            raise UsageError(f"No metric of {folders[0]} {names}. See --help.")
        raise UsageError(f"No metric {names}, and there is no folder of a run. See --help.")
    # As wide as the terminal, or 120 characters where there is none.
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def entries() -> list[Entry]:
    """The rows of the page."""
    found, section = [], ""
    for line in next(page for page in PAGES if page.exists()).read_text().splitlines():
        if line.startswith("## "):
            section = line[3:]
        if line.startswith("| `"):
            names, *cells = line.split("|")[1:4]
            said = (re.sub(r"\[([^]]+)\]\([^)]*\)|`", r"\1", cell).strip() for cell in cells)
            found.append(Entry(section, tuple(re.findall("`([^`]+)`", names)), tuple(said)))
    return found


def pattern(name: str) -> re.Pattern[str]:
    """What fits the name of a metric on the page."""
    return re.compile(re.sub(r"KEY|\bN\b", ".+", name))


def newest(folder: pathlib.Path) -> dict[str, Any]:
    """The newest value of everything that a run has logged."""
    values: dict[str, Any] = {}
    for file in (METRICS, SCORES):
        for record in read_jsonl(folder / file) if (folder / file).exists() else ():
            values.update(record)
    return {name: values[name] for name in sorted(values) if name not in RESERVED}


def _is_in(part: str, name: str) -> bool:
    return part in name or bool(pattern(name).fullmatch(part))


def _logged(page: Sequence[Entry], values: Mapping[str, Any]) -> list[Entry]:
    """The page with what a run has logged in place of its names, and what it does not know."""
    known = sorted((name for entry in page for name in entry.names), key=len, reverse=True)
    of = {x: next((name for name in known if pattern(name).fullmatch(x)), "") for x in values}
    page = [*page, Entry("Others", ("",), ("not explained in docs/metrics.md", ""))]
    return [
        entry._replace(names=tuple(x for name in entry.names for x in values if of[x] == name))
        for entry in page
    ]
