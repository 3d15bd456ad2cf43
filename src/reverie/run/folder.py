"""The run folder: its files, and whether a configuration may resume what is in it."""

import dataclasses
import os
import pathlib

from reverie.config import RUN_CONFIG, Config, ConfigError, Difference, check_resume
from reverie.learner import Checkpointer


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Paths in a run folder.

    Args:
        root: The folder itself.
    """

    root: pathlib.Path

    @property
    def config(self) -> pathlib.Path:
        """The resolved configuration."""
        return self.root / RUN_CONFIG

    @property
    def checkpoints(self) -> pathlib.Path:
        """Checkpoints of counters and agent."""
        return self.root / "checkpoints"

    @property
    def replay(self) -> pathlib.Path:
        """Saved replay."""
        return self.root / "replay"

    @property
    def evaluation(self) -> pathlib.Path:
        """Result of the last evaluation after training."""
        return self.root / "evaluation.json"

    @property
    def spaces(self) -> pathlib.Path:
        """Spaces of the environment before it was wrapped."""
        return self.root / "spaces.json"

    def create(self) -> None:
        """Makes the folder, if it is not there.

        Raises:
            ConfigError: If that is not possible.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"The run folder {self.root} cannot be made: {error.strerror}. Choose another "
                "--logdir."
            ) from None

    def differences(self, config: Config) -> list[Difference]:
        """Options whose values differ from those of the run in the folder.

        A folder without a checkpoint holds nothing to resume, and any configuration fits it.

        Raises:
            ConfigError: If one of them must not change.
        """
        if not self.config.exists() or not Checkpointer(self.checkpoints).steps():
            return []
        return check_resume(Config.from_yaml(self.config), config, str(self.root))


def open_run(logdir: str | os.PathLike[str]) -> tuple[RunFolder, Config]:
    """Opens the folder of an existing run.

    Returns:
        The folder, and the configuration that the run was trained with; its `logdir` is where the
        folder lies now.

    Raises:
        ConfigError: If there is no run in it.
    """
    folder = RunFolder(pathlib.Path(logdir).expanduser())
    if not folder.config.exists():
        raise ConfigError(
            f"There is no run in {folder.root}: it has no {RUN_CONFIG}. Pass the --logdir that the "
            "training command printed."
        )
    config = Config.from_yaml(folder.config)
    return folder, config.model_copy(update={"logdir": str(folder.root)})
