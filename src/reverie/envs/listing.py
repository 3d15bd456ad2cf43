"""What suites there are and which are installed, for people."""

from rich.table import Table

from reverie.catalog import announced
from reverie.envs.errors import MissingPackageError
from reverie.envs.registry import all_suites, tasks

EXAMPLES = 2


def overview() -> tuple[Table, list[str]]:
    """All suites with some of their tasks, and for each that cannot be used what to do about it."""
    table = Table("suite", "installed", "tasks", "about")
    missing = list(announced()[1].values())
    for suite in all_suites().values():
        try:
            names = tasks(suite.name)
        except MissingPackageError as error:
            names = []
            missing.append(str(error))
        shown = ", ".join(f"{suite.name}_{name}" for name in names[:EXAMPLES])
        more = len(names) - EXAMPLES
        shown += f" and {more} more" * (more > 0)
        table.add_row(suite.name, "yes" if names else "no", shown, suite.about)
    return table, missing
