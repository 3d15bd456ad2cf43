"""The behaviour suite, small experiments that each measure one ability, by their ids.

Osband et al., "Behaviour Suite for Reinforcement Learning" (arXiv 1908.03568).
"""

import inspect
import pathlib
from collections.abc import Mapping
from typing import Any

import gymnasium
from bsuite import bsuite, sweep
from bsuite.logging import base, csv_logging
from bsuite.utils import datasets, wrappers

from reverie.config.sections.env import BsuiteConfig
from reverie.envs.errors import MissingDataError, OptionError, UnknownTaskError, did_you_mean
from reverie.envs.suites._common.dm_env import DmEnv

MNIST_FILES = tuple(
    f"{part}-{kind}-ubyte.gz"
    for part in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)


class Experiment(DmEnv):
    """One experiment at one of its settings.

    Observations are one float32 array and actions discrete. Every episode ends by termination,
    also at a time limit, because the experiments count the time among what is observed. `info`
    holds what the experiment itself counts since it was built as `log/<name>`, for example
    `log/total_regret`.

    A seed changes the random events but not the setting: where a setting names the seed of, say,
    the rewards of a bandit's arms, those stay as they are.

    Args:
        name: Id of bsuite, such as `catch/0`.
        folder: Where the suite's own result files go; empty writes none.
    """

    def __init__(self, name: str, folder: str = ""):
        experiment, _, _ = name.partition(sweep.SEPARATOR)
        # The same as load_from_id, which prints.
        self._inner = bsuite.load(experiment, sweep.SETTINGS[name])
        env = wrappers.Logging(self._inner, _Results(name, folder)) if folder else self._inner
        super().__init__(env, f"bsuite_{name}", self._seed)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step of the experiment."""
        obs, reward, terminated, truncated, info = super().step(action)
        for key, value in self._inner.bsuite_info().items():
            info[f"log/{key}"] = float(value)
        return obs, reward, terminated, truncated, info

    def _seed(self, seed: int) -> Any:
        """Seeds every layer in place, because building anew would lose the counts."""
        layer, depth = self._inner, 0
        while layer is not None:
            # Layers pass on what they lack to the layer below, so look at each alone.
            parts = vars(layer)
            if "_rng" in parts:
                parts["_rng"].seed([seed, depth])
            layer, depth = parts.get("_env"), depth + 1
        return self._dm


class _Results(base.Logger):
    """Writes result files into a numbered folder of its own, claimed when there is a result.

    The suite names its file after the experiment and refuses to go on with an existing one, but
    parallel environments, restarted ones and resumed runs each start their own.
    """

    def __init__(self, name: str, folder: str):
        self._name = name
        self._folder = pathlib.Path(folder).expanduser()
        self._logger: csv_logging.Logger | None = None

    def write(self, data: Mapping[str, Any]) -> None:
        """Adds a row and writes the file."""
        if self._logger is None:
            self._logger = csv_logging.Logger(self._name, str(_claim(self._folder)))
        self._logger.write(data)


def make(name: str, **options: Any) -> gymnasium.Env:
    """Builds an experiment.

    Args:
        name: Experiment and number of its setting, such as `catch/0`.
        **options: Those of `BsuiteConfig`. `bsuite.logging.csv_load` reads the result files from
            `<folder>/0`; the number is higher for parallel and resumed environments.

    Raises:
        UnknownTaskError: The suite has no such experiment or setting.
        MissingDataError: The experiment needs the MNIST data set, and its files are not there.
        OptionError: Results shall be written, but nowhere.
    """
    given = BsuiteConfig(**options)
    if name not in sweep.SETTINGS:
        raise UnknownTaskError(_unknown(name))
    if name.startswith("mnist"):
        _check_mnist(name)
    if given.record and not given.folder:
        raise OptionError(
            "record=True: outside of a training run, say with `folder` where the results shall go."
        )
    return Experiment(name, given.folder if given.record else "")


def tasks() -> list[str]:
    """Names of the tasks, all settings of all experiments."""
    return list(sweep.SWEEP)


def _claim(folder: pathlib.Path) -> pathlib.Path:
    """Makes the first folder `0`, `1`, ... that is not there yet."""
    number = 0
    while True:
        claimed = folder / str(number)
        try:
            # Whoever makes the folder has it: another environment may be at it in this moment.
            claimed.mkdir(parents=True)
            return claimed
        except FileExistsError:
            number += 1


def _check_mnist(name: str) -> None:
    # Building these experiments would start a download in every environment process.
    folder = pathlib.Path(inspect.signature(datasets.load_mnist).parameters["directory"].default)
    missing = [file for file in MNIST_FILES if not (folder / file).is_file()]
    if missing:
        raise MissingDataError(
            f"The task bsuite_{name} needs the MNIST data set, which is not part of bsuite and is "
            f"not downloaded by Reverie. Put {', '.join(missing)} into {folder}, where bsuite "
            "looks for them, or take another experiment."
        )


def _unknown(name: str) -> str:
    experiment, _, number = name.partition(sweep.SEPARATOR)
    settings = [each for each in sweep.SWEEP if each.startswith(experiment + sweep.SEPARATOR)]
    if settings:
        said = f"setting {number!r}" if number else "setting, as none is named"
        return (
            f"The experiment {experiment!r} has no {said}: its tasks are bsuite_{settings[0]} to "
            f"bsuite_{settings[-1]}."
        )
    known = dict.fromkeys(each.partition(sweep.SEPARATOR)[0] for each in sweep.SWEEP)
    near = did_you_mean(experiment, known, "bsuite_{}/0")
    return f"bsuite has no experiment {experiment!r}. {near}It has {', '.join(known)}."
