"""World models of runs, loaded from their newest checkpoints."""

import copy
import threading

from reverie.run.load import OpenedRun, open_saved
from reverie.view.dream.model import Model, load_model, newest_step
from reverie.view.folders import Folders


class Models:
    """Loads models; the one that was used last is kept, because compiling takes seconds."""

    def __init__(self, folders: Folders):
        self._folders = folders
        self._lock = threading.Lock()
        self._kept: tuple[str, float, Model] | None = None

    def load(self, name: str) -> tuple[OpenedRun, Model]:
        """A run, and its model with the parameters of the newest checkpoint, which it keeps.

        Raises:
            ConfigError: As `open_saved`.
            CheckpointError: If there is no checkpoint yet, none is valid, or it does not fit.
        """
        run = open_saved(self._folders.saved(name), self._folders.trust)
        made = run.folder.config.stat().st_mtime
        with self._lock:
            if self._kept is None or self._kept[:2] != (name, made):
                model = load_model(run)
                self._kept = name, made, model
            model = self._kept[2]
            if newest_step(run.config) > model.step:
                model.reload(run.folder.root)
            # With the same programs; a later checkpoint is for who asks then.
            return run, copy.copy(model)
