"""World models of runs, loaded from their newest checkpoints."""

import threading
from typing import NamedTuple

from reverie.config.schema import Config
from reverie.learner.checkpoint import Checkpointer, CheckpointError
from reverie.learner.devices import choose
from reverie.learner.policy import read_params
from reverie.run.folder import RunFolder, open_run
from reverie.run.load import saved_spaces
from reverie.spaces import Space
from reverie.view.dream.model import Model, load_model
from reverie.view.folders import Folders


class OpenedRun(NamedTuple):
    """A run as far as it can be read without its model."""

    folder: RunFolder
    config: Config
    obs_space: dict[str, Space]
    act_space: dict[str, Space]


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
        folder, config, saved = open_run(self._folders.run(name), self._folders.trust)
        # The environment is code too, but is not made here.
        saved.refuse(allowed=[key for key in saved.code if not key.startswith("agent.")])
        spaces = saved_spaces(folder, config).spaces
        return OpenedRun(folder, config, dict(spaces[0]), dict(spaces[1]))

    def load(self, name: str) -> Model:
        """The model of a run with the parameters of the newest checkpoint.

        Raises:
            ConfigError: As `open`.
            CheckpointError: If there is no checkpoint yet, none is valid, or it does not fit.
        """
        run = self.open(name)
        steps = Checkpointer(run.folder.checkpoints).steps()
        if not steps:
            raise CheckpointError(
                "This run has no checkpoint yet; a running one writes the first after "
                "run.save_every seconds."
            )
        made = run.folder.config.stat().st_mtime
        with self._lock:
            if self._kept is None or self._kept[:2] != (name, made):
                model = load_model(run.config, run.obs_space, run.act_space)
                self._kept = name, made, model
            model = self._kept[2]
            if steps[-1] > model.step:
                params, saved = read_params(run.folder.root, model.agent, choose(None))
                model.set_params(params, saved.step)
            return model
