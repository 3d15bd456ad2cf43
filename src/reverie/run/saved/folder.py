"""The run folder: its files, and whether a configuration may resume what is in it."""

import contextlib
import datetime
import errno
import fcntl
import itertools
import os
import pathlib
import socket
import tempfile
import time
from collections.abc import Iterator
from typing import IO

import gymnasium
from gymnasium import spaces as gs

from reverie.config.load import RUN_CONFIG, load_saved
from reverie.config.saved_runs.foreign import SavedRun, read_config, read_run
from reverie.config.schema import Config
from reverie.config.syntax import yaml_text
from reverie.envs.flat.leaves import Leaf, Role, leaves
from reverie.errors import ConfigError
from reverie.learner.checkpoints.checkpoint import Checkpointer
from reverie.run.saved.space_file import decode, encode, read_spaces
from reverie.track.runs.status import LOCK
from reverie.track.sinks.jsonl import METRICS, NOTES, SCORES

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""What file systems answer that have no locks."""


class FolderInUseError(RuntimeError):
    """Another process trains in the run folder."""


class FolderGoneError(RuntimeError):
    """The run folder was moved or removed while a run trained in it."""


class RunFolder:
    """Paths in a run folder.

    Args:
        root: The folder itself.
        process: Number of this process among those of the run.

    Attributes:
        config: The resolved configuration.
        checkpoints: Checkpoints of counters and agent.
        own: What this process has for itself: the root, or for others than the first process a
            folder in it.
        replay: Saved replay of this process.
        parts: What else this process keeps for each checkpoint; unused by the first one.
        evaluation: Result of the last evaluation after training.
        evaluated: Steps of the last evaluation, in the format of replay.
        spaces: Spaces of the environment before it was wrapped.
    """

    def __init__(self, root: pathlib.Path, process: int = 0):
        self.root = root
        self.own = root / "processes" / f"{process}" if process else root
        self.config = root / RUN_CONFIG
        self.checkpoints, self.replay = root / "checkpoints", self.own / "replay"
        self.parts = self.own / "checkpoints"
        self.evaluation, self.spaces = root / "evaluation.json", root / "spaces.json"
        self.evaluated = root / "eval" / "replay"

    def check(self) -> None:
        """Checks that files can be written where the folder is or will be.

        Raises:
            ConfigError: If they cannot.
        """
        parent = next(path for path in (self.root, *self.root.parents) if path.exists())
        try:
            with tempfile.TemporaryFile(dir=parent):
                pass
        except OSError as error:
            raise self._unmakeable(error, parent) from None

    def unused(self) -> "RunFolder":
        """The folder, or if it is there already the first with a number behind its name."""
        names = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
        roots = (self.root.with_name(f"{self.root.name}{end}") for end in names)
        return RunFolder(next(root for root in roots if not root.is_dir()))

    def create(self, fresh: bool = False) -> "RunFolder":
        """Makes the folder, if it is not there.

        Args:
            fresh: Whether it has to be a new one: where two runs start in the same second, or the
                clock was set back, that of the later one has a number behind its name.

        Raises:
            ConfigError: If that is not possible.
        """
        folder = self
        while True:
            try:
                folder.root.parent.mkdir(parents=True, exist_ok=True)
                folder.root.mkdir(exist_ok=not fresh)
                return folder
            except OSError as error:
                if not (isinstance(error, FileExistsError) and fresh and folder.root.is_dir()):
                    raise self._unmakeable(error, folder.root) from None
            folder = self.unused()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Inside, no other process trains in the folder, which exists.

        The lock is held by an open file, so that the operating system releases it however the
        process ends. The file itself stays: removing it would let two processes hold locks on two
        files of the same name. On a file system without locks this does nothing.

        Raises:
            FolderInUseError: On entering, if another process holds the lock; the message names it.
        """
        # Python opens files so that child processes do not inherit them: workers that outlive
        # this process cannot keep the lock.
        with open(self.own / LOCK, "a+", errors="replace") as file:
            try:
                _lock(file)
            except BlockingIOError:
                file.seek(0)
                holder = file.read(1000).strip()
                raise FolderInUseError(
                    f"Another run is training in {self.root}: {holder or 'an unknown process'}. "
                    "Wait for it, stop it, or choose another logdir."
                ) from None
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            file.truncate(0)
            print(f"process {os.getpid()} on {socket.gethostname()}", file=file, flush=True)
            yield

    def check_kept(self) -> None:
        """Checks that the folder is still the one in which a run trains: it would make a new one.

        Raises:
            FolderGoneError: If nothing of the run is there.
        """
        if not (self.own / LOCK).exists() and not self.config.exists():
            raise FolderGoneError(
                f"{self.root} was moved or removed while the run trained in it, which stops "
                "without a save. Where the folder is now it goes on from its last checkpoint."
            )

    def _unmakeable(self, error: OSError, path: pathlib.Path) -> ConfigError:
        return ConfigError(
            f"The run folder {self.root} cannot be made or written: {error.strerror} ({path}). "
            "Choose another --logdir."
        )

    def saved(self) -> Config | None:
        """The configuration of the run in the folder; None without a checkpoint.

        Raises:
            ConfigError: If it is damaged, or of something else, which a new run would replace.
        """
        if not self.config.exists():
            return None
        if self.reached:
            return read_config(self.config)
        with contextlib.suppress(ConfigError):
            if not self.config.stat().st_size or "task" in yaml_text.read(self.config):
                return None
        raise ConfigError(
            f"{self.config} is not that of a run, and would be replaced. Choose another --logdir."
        )

    def check_spaces(
        self, observation: gymnasium.Space, action: gymnasium.Space, use: str = "resumed"
    ) -> None:
        """Checks that an environment has the spaces of the run in the folder, if there is one.

        Raises:
            ConfigError: If it has others; the message names them.
        """
        if not self.spaces.exists() or not self.reached:
            return
        saved = read_spaces(self.spaces)
        # As a file has them: a text is any text there, and MultiBinary(2) MultiBinary((2,)).
        now = decode(encode(observation)), decode(encode(action))
        changes = [
            *_changes("observation", saved[0], now[0]),
            *_changes("action", saved[1], now[1]),
        ]
        if changes:
            raise ConfigError(
                f"The run in {self.root} cannot be {use} with this environment, whose spaces "
                "are others:\n" + "\n".join(changes) + "\n"
                "Take the environment that it was started with; a new run needs another logdir."
            )

    def set_aside(self) -> list[str]:
        """Gives what belongs to no checkpoint another name, and tells it: a new run begins."""
        lost = [self.replay, *(self.own / name for name in (METRICS, SCORES, NOTES))]
        lost += [self.parts] if self.parts != self.checkpoints else []
        for path in lost:
            if path.is_file() and not path.stat().st_size:
                path.unlink()
        lost = [path for path in lost if path.exists()]
        if not lost:
            return []
        stamp = name = f"{datetime.datetime.now():%Y%m%dT%H%M%S}"
        count = 1
        while any(_dated(path, stamp).exists() for path in lost):
            stamp, count = f"{name}-{count}", count + 1
        for path in lost:
            path.rename(_dated(path, stamp))
        names = ", ".join(_dated(path, stamp).name for path in lost)
        return [
            "This is a new run. What one had left that did not reach a checkpoint was kept in "
            f"{self.root}: {names}."
        ]

    @property
    def reached(self) -> bool:
        """Whether there is a run to resume."""
        return bool(Checkpointer(self.checkpoints).steps())


def open_run(
    logdir: str | os.PathLike[str], trust: bool = False
) -> tuple[RunFolder, Config, SavedRun]:
    """Opens the folder of an existing run.

    Returns:
        The folder; the configuration that the run was trained with, with `logdir` where the folder
        lies now, and devices as usual here; and what it is made of, which tells whether it names
        code of somebody else's choice.

    Raises:
        ConfigError: If there is no run in it, or its configuration is damaged.
    """
    folder = RunFolder(pathlib.Path(logdir).expanduser().absolute())
    try:
        os.stat(folder.config)
    except PermissionError as error:
        raise ConfigError(f"{folder.root} cannot be looked into: {error.strerror}.") from None
    except OSError:  # There is none, or its name is too long.
        raise ConfigError(
            f"There is no run in {folder.root}: it has no {RUN_CONFIG}. Pass the --logdir that the "
            "training command printed."
        ) from None
    saved = read_run(folder.root, trust)
    config = load_saved(saved, []).model_copy(update={"logdir": str(folder.root)})
    return folder, config, saved


def _lock(file: IO[str]) -> None:
    """Takes the lock; whoever only looks whether it is held has it for an instant."""
    for patience in (0.02, 0.02, 0):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if not patience:
                raise
            time.sleep(patience)


def _dated(path: pathlib.Path, stamp: str) -> pathlib.Path:
    return path.with_name(f"{path.stem}-{stamp}{path.suffix}")


def _changes(role: Role, saved: gymnasium.Space, new: gymnasium.Space) -> list[str]:
    """One line for every entry of a space that is not what it was."""
    old, now = ({leaf.key: leaf for leaf in leaves(space, role)} for space in (saved, new))
    lines = []
    for key in sorted({*old, *now}):
        before, after = old.get(key), now.get(key)
        if before is None or after is None or not _same(role, before, after):
            was, is_ = (leaf.native if leaf else "nothing" for leaf in (before, after))
            lines.append(f"- {role} {key!r}: saved {was}, now {is_}")
    return lines


def _same(role: Role, saved: Leaf, new: Leaf) -> bool:
    """Whether two entries mean the same: of observations the bounds do not matter."""
    if role == "observation" and isinstance(saved.flat, gs.Box) and isinstance(new.flat, gs.Box):
        return saved.flat.shape == new.flat.shape and saved.flat.dtype == new.flat.dtype
    return saved.flat == new.flat if role == "observation" else saved.native == new.native
