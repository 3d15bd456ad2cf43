"""Compiled maps of DeepMind Lab on disk, shared by the environments of all runs."""

import os
import pathlib
import shutil
import tempfile
import urllib.parse

from reverie.envs.errors import OptionError


class LevelCache:
    """The object that `deepmind_lab.Lab` asks for a map before it compiles it.

    Levels that generate a map in every episode spend seconds on compiling it; a map that was
    compiled before is copied instead. Files are never changed or deleted.

    Args:
        folder: Where the maps are kept; it is created.

    Raises:
        OptionError: It cannot be created.
    """

    def __init__(self, folder: str | os.PathLike):
        self._folder = pathlib.Path(folder).expanduser()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(
                f"level_cache={str(folder)!r}: the folder cannot be made ({error.strerror}). "
                "Name another one."
            ) from error

    def fetch(self, key: str, pk3_path: str) -> bool:
        """Copies the map `key` to `pk3_path`; False if there is none."""
        path = self._path(key)
        if not path.is_file():
            return False
        shutil.copyfile(path, pk3_path)
        return True

    def write(self, key: str, pk3_path: str) -> None:
        """Keeps the map at `pk3_path` under `key`."""
        # Other processes must never see half a file.
        handle, part = tempfile.mkstemp(dir=self._folder, suffix=".part")
        os.close(handle)
        shutil.copyfile(pk3_path, part)
        os.replace(part, self._path(key))

    def _path(self, key: str) -> pathlib.Path:
        return self._folder / urllib.parse.quote(key, safe="")
