"""`reverie train`: one run, or with `--seeds 0 1 2` one for each seed, one after the other."""

import datetime
import gc
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from reverie.commands.words import UsageError
from reverie.config.load import STAMP, load
from reverie.config.schema import Config

if TYPE_CHECKING:
    from reverie.actors.cluster.fleet import Fleet
    from reverie.run.hooks import Hook
    from reverie.run.saved.result import Outcome


def train(config: Config) -> int:
    """Does what `reverie train` says for one run; returns the exit code."""
    if config.script != "parallel":
        return train_one(config).exit_code
    from reverie.commands.parallel import supervise

    return supervise(config)


def train_one(
    config: Config, fleet: "Fleet | None" = None, callbacks: Sequence["Hook"] = ()
) -> "Outcome":
    """Trains in this process, and prints what came of it."""
    from reverie.run.scripts import launch

    # What imports have left is here to stay. To look through it again and again while programs are
    # traced takes a tenth of the start. What a run before this one has left is not.
    if not gc.get_freeze_count():
        gc.freeze()
    outcome = launch(config, callbacks=callbacks, fleet=fleet)
    try:
        print(outcome.summary(), flush=True)
    except OSError as error:
        # The terminal is closed, which is what SIGHUP says.
        if isinstance(error, BrokenPipeError) and not outcome.interrupted:
            raise
        # Or the output cannot be written, which the logger has said; Python would try once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return outcome


def train_seeds(words: list[str], read: Callable[[list[str]], Config]) -> int:
    """Trains the seeds that are not finished, until one is interrupted, and prints a table.

    Raises:
        UsageError: If that makes no sense.
        ConfigError: If an option is unknown or invalid.
    """
    from reverie.commands.info import print_table
    from reverie.track.runs.status import is_run, read_status

    code, configs = 0, [read(each) for each in _one_by_one(words)]
    folders = [pathlib.Path(config.logdir) for config in configs]
    if configs[0].script == "eval_only":
        raise UsageError("--seeds is for training, and script is eval_only.")
    for number, (config, folder) in enumerate(zip(configs, folders, strict=True), 1):
        print(f"Seed {config.seed}, run {number} of {len(configs)}: {folder}", flush=True)
        evaluated = not config.run.final_eval_eps or (folder / "evaluation.json").exists()
        status = read_status(folder) if evaluated and is_run(folder) else None
        late = status and 0 < config.run.duration <= status.seconds
        if status and (late or status.saved >= config.run.steps):
            print("It is finished already.")
        elif code := train(config):
            break
    found = [read_status(folder) for folder in folders if is_run(folder)]
    print_table(found, pathlib.Path(os.path.commonpath([x.parent for x in folders])))
    return code


def _one_by_one(words: list[str]) -> list[list[str]]:
    """The words of a command for each of its seeds, whose runs have folders of their own."""
    names = [word.partition("=")[0] for word in words]
    start = names.index("--seeds")
    end = next((i for i in range(start + 1, len(words)) if names[i].startswith("--")), len(words))
    text = " ".join([words[start].partition("=")[2], *words[start + 1 : end]])
    seeds, words = text.replace(",", " ").split(), words[:start] + words[end:]
    if not seeds or not all(map(str.isdecimal, seeds)) or len({*map(int, seeds)}) < len(seeds):
        raise UsageError(f"--seeds{text}: expected different whole numbers, such as 0 1 2.")
    if {"--seed", "--seeds"} & {*names[:start], *names[end:]}:
        raise UsageError("--seeds stands alone, without another --seed or --seeds.")
    logdir = load([word for word in words if word != "--trust"], expand=False).logdir
    logdir = logdir.replace(STAMP, f"{datetime.datetime.now():%Y%m%dT%H%M%S}")
    if "{seed}" not in logdir:
        if os.path.exists(os.path.expanduser(f"{logdir}/config.yaml")):
            raise UsageError(f"{logdir} is one run: --seeds needs a --logdir for several.")
        logdir += "/seed-{seed}"
    return [[*words, "--seed", x, "--logdir", logdir.replace("{seed}", x)] for x in seeds]
