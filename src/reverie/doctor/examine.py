"""Looks at everything there is of a run."""

import os

from reverie.doctor import records
from reverie.doctor.line import Line
from reverie.envs.flat.converter import Converter
from reverie.run.folder import open_run
from reverie.run.space_file import read_spaces


def examine_run(logdir: str | os.PathLike[str], trust: bool = False) -> list[Line]:
    """Looks at a run, finished or not; its folder is only read.

    Args:
        logdir: Run folder.
        trust: Whether the user trusts whoever made it, so that it may name code.

    Raises:
        ConfigError: If there is no run in the folder.
        RecordsError: If its records are damaged.
    """
    folder, config, _ = open_run(logdir, trust)
    _, actions = Converter(*read_spaces(folder.spaces), (), config.task).spaces
    return list(records.lines(records.read_records(folder.root, config, actions)))
