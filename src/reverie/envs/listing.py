"""What suites there are and which are installed, for people."""

from rich.table import Table

from reverie.envs.errors import MissingPackageError
from reverie.envs.registry import SUITES, tasks

EXAMPLES = 2


def suites_table() -> Table:
    """One row per suite: whether it can be used, some of its tasks, what it is."""
    table = Table("suite", "installed", "tasks", "about")
    for suite in SUITES.values():
        names = _names(suite.name)
        shown = ", ".join(f"{suite.name}_{name}" for name in names[:EXAMPLES])
        more = len(names) - EXAMPLES
        shown += f" and {more} more" * (more > 0)
        table.add_row(suite.name, "yes" if names else "no", shown, suite.about)
    return table


def missing() -> list[str]:
    """One line for each suite that cannot be used now, with what to do about it."""
    lines = []
    for suite in SUITES.values():
        try:
            tasks(suite.name)
        except MissingPackageError as error:
            lines.append(str(error))
    return lines


def _names(suite: str) -> list[str]:
    """The tasks of a suite, none where it cannot be used."""
    try:
        return tasks(suite)
    except MissingPackageError:
        return []
