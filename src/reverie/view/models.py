"""World models of runs, loaded from their newest checkpoints."""

import copy
import pathlib
import threading
from collections.abc import Callable
from typing import NamedTuple

from reverie.config.schema import Config
from reverie.envs.flat.converter import Converter
from reverie.learner.placement.devices import choose
from reverie.learner.policy import read_params
from reverie.run.load import saved_spaces
from reverie.run.saved.folder import RunFolder, open_run
from reverie.spaces import Space
from reverie.view.dream.model import Model, load_model, newest_step
from reverie.view.folders import Folders


class OpenedRun(NamedTuple):
    """A run as far as it can be read without its model.

    Attributes:
        folder: Where it lies.
        config: Of the run.
        converter: Knows its spaces.
        permitted: Raises ConfigError where its environment must not be made.
    """

    folder: RunFolder
    config: Config
    converter: Converter
    permitted: Callable[[], None]

    @property
    def obs_space(self) -> dict[str, Space]:
        """What the agent observes."""
        return dict(self.converter.spaces[0])

    @property
    def act_space(self) -> dict[str, Space]:
        """What it does."""
        return dict(self.converter.spaces[1])


def open_saved(root: pathlib.Path, trust: bool = False) -> OpenedRun:
    """Opens a run folder.

    Args:
        root: The folder.
        trust: Whether the user trusts whoever made it, so that it may name code.

    Raises:
        ConfigError: If its files are damaged, or its networks are code that must not be imported
            because the folder was made elsewhere.
    """
    folder, config, saved = open_run(root, trust)
    # The environment is code too, but is not made here.
    saved.refuse(allowed=[key for key in saved.code if not key.startswith("agent.")])
    return OpenedRun(folder, config, saved_spaces(folder, config), saved.refuse)


class Models:
    """Loads models; the one that was used last is kept, because compiling takes seconds.

    Args:
        folders: The runs.
    """

    def __init__(self, folders: Folders):
        self._folders = folders
        self._lock = threading.Lock()
        self._kept: tuple[str, float, Model] | None = None

    def open(self, name: str) -> OpenedRun:
        """What a run observes and does.

        Raises:
            ConfigError: If its files are damaged, or its networks are code that must not be
                imported because the folder was made elsewhere.
        """
        return open_saved(self._folders.saved(name), self._folders.trust)

    def load(self, name: str) -> Model:
        """The model of a run with the parameters of the newest checkpoint, which it keeps.

        Raises:
            ConfigError: As `open`.
            CheckpointError: If there is no checkpoint yet, none is valid, or it does not fit.
        """
        run = self.open(name)
        made = run.folder.config.stat().st_mtime
        with self._lock:
            if self._kept is None or self._kept[:2] != (name, made):
                model = load_model(run.config, run.obs_space, run.act_space)
                self._kept = name, made, model
            model = self._kept[2]
            if newest_step(run.config) > model.step:
                params, saved = read_params(run.folder.root, model.agent, choose(None))
                model.set_params(params, saved.step)
            # With the same programs; a later checkpoint is for who asks then.
            return copy.copy(model)
