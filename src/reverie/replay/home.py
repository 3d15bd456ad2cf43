"""Which folder a replay is written to."""

import contextlib
from pathlib import Path

from reverie.replay import archive
from reverie.replay.storage import Chunk, Storage


class Home:
    """The folder of a replay: the storage's own, or the one last saved to or loaded from.

    A replay in RAM has none before that, and then nothing is written.

    Args:
        storage: Where the chunks live.
        latent_lock: Held by whoever writes latents or copies them.
    """

    def __init__(self, storage: Storage, latent_lock: contextlib.AbstractContextManager):
        self._storage = storage
        self._lock = latent_lock
        self._archive: archive.Archive | None = None

    def begin(self) -> None:
        """Called before the first step is added.

        Raises:
            FileExistsError: If the storage's folder holds the replay of another run.
        """
        if self._storage.folder is not None:
            self.claim(self._storage.folder)

    def claim(self, folder: Path) -> archive.Archive:
        """The archive of a folder that holds no chunks but ours.

        Raises:
            FileExistsError: If it holds others.
            ValueError: If the storage lives in another folder.
        """
        self.check(folder)
        if self._archive is not None and self._archive.folder == folder:
            return self._archive
        if archive.serials(folder):
            raise FileExistsError(
                f"{folder} holds the replay of another run: load it first, or save elsewhere."
            )
        return self.use(folder)

    def use(self, folder: Path) -> archive.Archive:
        """The archive of a folder, whatever it holds."""
        self.close()
        self._archive = archive.Archive(folder, self._storage, self._lock)
        return self._archive

    def check(self, folder: Path) -> None:
        """Check that the storage can work with a folder.

        Raises:
            ValueError: If it lives in another one.
        """
        home = self._storage.folder
        if home is not None and folder != home:
            raise ValueError(f"A replay that lives on disk in {home} cannot use {folder}.")

    def report(self) -> None:
        """Raise the failure of something that was to be written or deleted.

        Raises:
            OSError: What the disk said.
        """
        if self._archive is not None:
            self._archive.report()

    def finish(self, chunk: Chunk) -> None:
        """Start to write a chunk that is full."""
        if self._archive is not None:
            self._archive.finish(chunk)

    def drop(self, chunk: Chunk) -> None:
        """Start to delete the files of a chunk that was evicted."""
        if self._archive is not None:
            self._archive.drop(chunk)

    def close(self) -> None:
        """Wait for what is in progress.

        Raises:
            OSError: If it has failed.
        """
        if self._archive is not None:
            self._archive.close()
