"""A folder of compiled programs."""

import contextlib
import hashlib
import logging
import os
import pathlib
import re
import threading
import time
from collections.abc import Sequence
from typing import Any

import cloudpickle
import jax
from jax.experimental import serialize_executable

log = logging.getLogger("reverie.learner")

CAPACITY = 64
"""Programs that a folder keeps. They have 0.5 to 7 megabytes."""

_LINK, _PROGRAM, _TEMPORARY = ".link", ".program", ".tmp"
_ABANDONED = 3600.0
"""Seconds after which nobody writes a file any more: its process was killed."""


class ProgramStore:
    """Keeps programs by name, and finds the names by fingerprints; see `fingerprint` for both.

    Loading is about as fast as from the compilation cache of JAX, which however has to trace a
    program to find it. Like there, who can write into the folder can run code in this process.

    Attributes:
        folder: Where they are.

    Args:
        folder: A folder of this version of JAX and kind of CPU, which exists.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder

    def find(self, fingerprint: str | None) -> str | None:
        """The name of the program with this fingerprint, if there is one."""
        if fingerprint is None:
            return None
        return _read_link(self.folder / f"{fingerprint}{_LINK}")

    @property
    def writable(self) -> bool:
        """Whether programs can be kept at all."""
        return os.access(self.folder, os.W_OK)

    def link(self, fingerprint: str | None, name: str) -> None:
        """Notes that the program of this name has this fingerprint, if the disk allows it."""
        if fingerprint is None:
            return
        with contextlib.suppress(OSError):
            self._write(self.folder / f"{fingerprint}{_LINK}", name.encode())

    def has(self, name: str) -> bool:
        """Whether there is a program of this name."""
        return self._path(name).exists()

    def save(self, name: str, compiled: jax.stages.Compiled) -> None:
        """Keeps a program.

        Args:
            name: From `name_of`.
            compiled: By the compiler in this process: what JAX has loaded from its own cache
                cannot always be kept again, so that this cache has to be off.

        Raises:
            OSError: If it cannot be written.
            ValueError, NotImplementedError: If JAX cannot write such a program.
        """
        content = cloudpickle.dumps(serialize_executable.serialize(compiled))
        self._write(self._path(name), hashlib.sha256(content).digest() + content)
        self._forget_oldest()

    def load(self, name: str | None, inputs: Any, devices: Sequence[Any]) -> Any:
        """A compiled program, or None where it is not there or of no use.

        Args:
            name: From `find` or `name_of`.
            inputs: Positional arguments, of which the structure matters alone.
            devices: Where it is to run.
        """
        if name is None:
            return None
        path = self._path(name)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        try:
            digest, content = content[:32], content[32:]
            if hashlib.sha256(content).digest() != digest:
                raise ValueError("it is damaged")
            serialized, in_tree, out_tree = cloudpickle.loads(content)
            if in_tree != jax.tree.structure((inputs, {})):
                log.info("The compiled program %s is for arrays in another structure.", path)
                return None
            program = serialize_executable.deserialize_and_load(
                serialized,
                in_tree,
                out_tree,
                backend=devices[0].client,
                execution_devices=tuple(devices),
            )
        except Exception as error:  # Also what versions of libraries raise that do not match.
            log.info("The compiled program %s cannot be used: %s", path, error)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            path.touch()
        return program

    def _path(self, name: str) -> pathlib.Path:
        return self.folder / f"{name}{_PROGRAM}"

    def _write(self, path: pathlib.Path, content: bytes) -> None:
        """All of it or nothing, whatever other processes do."""
        temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}{_TEMPORARY}")
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _forget_oldest(self) -> None:
        """Removes programs that were not used for longest, and what belongs to none."""
        with contextlib.suppress(OSError):  # Another process may do the same.
            programs = sorted(self.folder.glob(f"*{_PROGRAM}"), key=lambda p: p.stat().st_mtime)
            for path in programs[:-CAPACITY]:
                path.unlink()
            kept = {path.stem for path in programs[-CAPACITY:]}
            for path in self.folder.glob(f"*{_LINK}"):
                if _read_link(path) not in kept:
                    path.unlink()
            for path in self.folder.glob(f"*{_TEMPORARY}"):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()


def _read_link(path: pathlib.Path) -> str | None:
    """The name in a link, None where it cannot be read or is none."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content.decode() if re.fullmatch(rb"[0-9a-f]{32}", content) else None
