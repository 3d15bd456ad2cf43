"""What suites there are and which are installed, for people."""

from rich.markup import escape
from rich.table import Column, Table

from reverie.envs.errors import MissingPackageError
from reverie.envs.registry import SUITES, Suite, tasks

EXAMPLES = 2


def suites_table() -> Table:
    """One row per suite: whether it can be used, some of its tasks, what it is."""
    table = Table("suite", Column("installed", no_wrap=True), "tasks", "about")
    for suite in SUITES.values():
        state, names = _state(suite)
        shown = ", ".join(f"{suite.name}_{name}" for name in names[:EXAMPLES])
        more = len(names) - EXAMPLES
        shown += f" and {more} more" * (more > 0)
        table.add_row(suite.name, escape(state), shown, suite.about)
    return table


def _state(suite: Suite) -> tuple[str, list[str]]:
    """`yes` and the names of its tasks, or what to do to have it."""
    if not suite.installed:
        return suite.install, []
    try:
        return "yes", tasks(suite.name)
    except MissingPackageError as error:
        return str(error), []
