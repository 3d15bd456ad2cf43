"""The `reverie` command: a thin dispatch; options belong to the configuration."""

import json
import os
import signal
import sys
from collections.abc import Sequence

USAGE = """\
Usage: reverie COMMAND [--configs BLOCK ...] [--KEY VALUE ...]

Commands:
  train     Train an agent, or go on with the run in the same --logdir.
  eval      Play episodes with a trained agent and write evaluation.json.
  plot      Draw the learning curve of a run.
  config    Print the resolved configuration with the documentation of every option.
  envs      List the suites of environments, or check an environment.
  bench     Measure the speed and the memory of updates, policy calls and start-up.

Examples:
  reverie train --configs quickstart
  reverie train --configs crafter size12m --run.train_ratio 64 --logdir ~/logdir/{timestamp}
  reverie eval --logdir ~/logdir/20260101T120000 --episodes 10 --video
  reverie config --configs dmc_vision

`reverie COMMAND --help` tells more. `reverie --version` prints the version.
Set REVERIE_DEBUG=1 to see tracebacks of errors."""

TRAIN = """\
Usage: reverie train [--configs BLOCK ...] [--KEY VALUE ...]

Trains an agent. The same command with the same --logdir goes on with the saved run; so does
--logdir alone, and options beside it change what may change.

  --configs BLOCK ...  Preset blocks or yaml files; later ones win. Blocks: quickstart, debug,
                       multicpu; crafter, dmc_proprio, dmc_vision and others; size1m to size400m.
  --task TASK          Environment, such as gym_CartPole-v1, dmc_walker_walk, crafter_reward.
  --logdir FOLDER      Run folder; {timestamp} becomes the start time.
  --seed N             Seed of environments, replay and agent.
  --script NAME        train, train_eval or eval_only.
  --KEY VALUE          Any option of `reverie config`; KEY may be a regular expression."""

EVAL = """\
Usage: reverie eval --logdir FOLDER [--episodes N] [--video] [--json] [--KEY VALUE ...]

Plays episodes with the newest checkpoint of a run and writes evaluation.json in its folder.

  --logdir FOLDER  Run folder.
  --episodes N     Number of episodes, 10 by default.
  --video          Also write a video of the episodes of the first environment.
  --json           Print the result as JSON and nothing else.
  --KEY VALUE      Options that replace those of the run, such as --run.eval_envs 1."""

PLOT = """\
Usage: reverie plot --logdir FOLDER [--output FILE]

Draws the learning curve of a run into scores.png in its folder, or into FILE."""

CONFIG = """\
Usage: reverie config [--configs BLOCK ...] [--KEY VALUE ...]

Prints the resolved configuration as YAML with the documentation, bounds and origin of every
option. The output can be saved as a .yaml file and passed to --configs: {timestamp} in the logdir
stays as it is."""

ENVS = """\
Usage: reverie envs
       reverie envs check TASK [--steps N] [--KEY VALUE ...]

Lists the suites of environments, which of them are installed, and how to install the others.

check builds an environment, plays random actions, and says what an agent could not use or learn
from, and how to mend it. TASK is a task such as dmc_walker_walk or gym_my_package:MyEnv-v0, or just
a gymnasium id. Exit code 1 if training would fail.

  --steps N      Random steps to take, 200 by default.
  --KEY VALUE    Options of the suite, such as --env.dmc.repeat 2; see `reverie config`."""

BENCH = """\
Usage: reverie bench [--size SIZE] [--obs OBS] [--train] [--policy] [--startup] [--updates N]
                     [--dtype DTYPE] [--devices N] [--json] [--configs BLOCK ...] [--KEY VALUE ...]

Measures updates on synthetic batches and policy calls, each row in a process of its own. What the
columns mean is in docs/performance.md. Other programs should rest meanwhile.

  --size SIZE      Model sizes, such as size1m or size1m,size12m. By default size1m with vectors and
                   images and size12m with images.
  --obs OBS        Inputs: vector (24 numbers, 6 continuous actions) or image (64x64x3, 17 classes).
  --train          Measure updates; --policy policy calls on one core; --startup the time from the
                   command to the first update of a run in Crafter, with and without a compilation
                   cache. Without these, updates, and if --size and --obs are left out policy calls.
  --updates N      Timed updates of each row, 20 by default.
  --dtype DTYPE    Compute dtype: float32, bfloat16 or float16; as --jax.compute_dtype.
  --devices N      Devices that share the batch, such as 0,1; as --jax.devices.
  --json           Print one JSON document and nothing else; times in seconds, memory in bytes.
  --KEY VALUE      Any option of `reverie config`."""


class UsageError(ValueError):
    """A command line that makes no sense."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: Words after the program name; those of the process by default.

    Returns:
        Exit code: 0 for success, 2 for an error that was explained, 128 plus the signal's number
        after Ctrl-C (130) or SIGTERM (143), when the run has been saved.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(words)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of the output, such as `head`, has left: nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        if os.environ.get("REVERIE_DEBUG") or not _explained(error):
            raise
        print(f"reverie: {_message(error)}", file=sys.stderr)
        return 2


def _dispatch(words: list[str]) -> int:
    command, *rest = words or ["--help"]
    if command in ("--help", "-h", "help"):
        print(USAGE)
        return 0
    if command == "--version":
        from reverie import __version__

        print(f"reverie {__version__}")
        return 0
    if command not in _COMMANDS:
        known = ", ".join(_COMMANDS)
        raise UsageError(f"Unknown command '{command}'; the commands are {known}. See --help.")
    run, usage = _COMMANDS[command]
    if "--help" in rest or "-h" in rest:
        print(usage)
        return 0
    return run(rest)


def _train(words: list[str]) -> int:
    from reverie.config import load_run

    config = load_run(words)
    from reverie.run import launch

    outcome = launch(config)
    print(outcome.summary())
    return outcome.exit_code


def _eval(words: list[str]) -> int:
    logdir, words = _take(words, "logdir", "eval")
    episodes, words = _take(words, "episodes", default="10")
    video, words = _flag(words, "video")
    as_json, words = _flag(words, "json")
    from reverie.run.eval_only import eval_run

    silent = ["--logger.outputs", "jsonl"]
    outcome = eval_run(logdir, ["--run.eval_eps", episodes, *silent, *words], video=video)
    assert outcome.evaluation is not None
    print(json.dumps(outcome.evaluation.to_json()) if as_json else outcome.summary())
    return outcome.exit_code


def _plot(words: list[str]) -> int:
    logdir, words = _take(words, "logdir", "plot")
    output, words = _take(words, "output", default="")
    if words:
        raise UsageError(f"reverie plot does not know {' '.join(words)}. See reverie plot --help.")
    from reverie.run.folder import open_run
    from reverie.track import learning_curve

    folder, config = open_run(logdir)
    path = learning_curve(folder.root, output=output or None, title=config.task)
    print(path)
    return 0


def _config(words: list[str]) -> int:
    from reverie.config import describe, load

    print(describe(load(words, expand=False)), end="")
    return 0


def _envs(words: list[str]) -> int:
    if words[:1] == ["check"]:
        return _check_env(words[1:])
    if words:
        raise UsageError(f"reverie envs does not know {' '.join(words)}. See reverie envs --help.")
    from reverie.envs.listing import overview

    table, missing = overview()
    _print(table)
    print("\n".join(missing))
    return 0


def _check_env(words: list[str]) -> int:
    task, *words = words or [""]
    if not task or task.startswith("--"):
        raise UsageError("reverie envs check needs a task. See reverie envs --help.")
    steps, words = _take(words, "steps", default="200")
    if not steps.isdecimal():
        raise UsageError(f"--steps is {steps}; expected a whole number.")
    from reverie.config import load
    from reverie.envs import check, full_name, split

    task = full_name(task)
    suite, _ = split(task)
    config = load(["--task", task, *words])
    section = getattr(config.env, suite.name).model_dump()
    findings = check(task, section, steps=int(steps), agent=config.agent)
    for finding in findings:
        print(finding)
    failed = any(finding.level == "error" for finding in findings)
    print(f"{task} {'cannot be trained on yet' if failed else 'can be trained on'}.")
    return int(failed)


def _bench(words: list[str]) -> int:
    sizes, words = _take(words, "size", default="")
    obs, words = _take(words, "obs", default="")
    updates, words = _take(words, "updates", default="20")
    dtype, words = _take(words, "dtype", default="")
    devices, words = _take(words, "devices", default="")
    as_json, words = _flag(words, "json")
    sections = []
    for section in ("train", "policy", "startup"):
        given, words = _flag(words, section)
        sections += [section] * given
    words += ["--jax.compute_dtype", dtype] * bool(dtype)
    words += ["--jax.devices", devices] * bool(devices)
    if not updates.isdecimal():
        raise UsageError(f"--updates is {updates}; expected a whole number.")
    from reverie.bench import Request, measure, render

    request = Request(_parts(sizes), _parts(obs), sections, int(updates), tuple(words))
    results = measure(request, note=lambda text: print(text, file=sys.stderr, flush=True))
    if as_json:
        print(json.dumps(results))
    else:
        _print(render(results))
    return 0


def _print(renderable: object) -> None:
    """Prints a table, as wide as the terminal or 120 characters where there is none."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 120
    Console(width=width).print(renderable)


_COMMANDS = {
    "train": (_train, TRAIN),
    "eval": (_eval, EVAL),
    "plot": (_plot, PLOT),
    "config": (_config, CONFIG),
    "envs": (_envs, ENVS),
    "bench": (_bench, BENCH),
}


def _take(
    words: list[str], name: str, command: str = "", default: str | None = None
) -> tuple[str, list[str]]:
    """Removes `--name value` or `--name=value`; returns the value and the other words."""
    flag = f"--{name}"
    for index, word in enumerate(words):
        if word.startswith(f"{flag}="):
            return word.partition("=")[2], words[:index] + words[index + 1 :]
        if word == flag:
            if index + 1 == len(words) or words[index + 1].startswith("--"):
                raise UsageError(f"{flag} needs a value.")
            return words[index + 1], words[:index] + words[index + 2 :]
    if default is None:
        raise UsageError(f"reverie {command} needs {flag}. See reverie {command} --help.")
    return default, words


def _flag(words: list[str], name: str) -> tuple[bool, list[str]]:
    """Removes `--name`; returns whether it was there, and the other words."""
    return f"--{name}" in words, [word for word in words if word != f"--{name}"]


def _parts(text: str) -> list[str]:
    """The parts of a list with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _explained(error: Exception) -> bool:
    """Whether the error is one of Reverie's own, whose message says what to do."""
    return type(error).__module__.partition(".")[0] == __package__


def _message(error: Exception) -> str:
    """What the error says, without the traceback of a process where it is Reverie's own too."""
    message, trace = str(error), str(getattr(error, "trace", "")).strip()
    cause = trace.splitlines()[-1] if trace else ""
    return message.partition("\n\n")[0] if cause.startswith(f"{__package__}.") else message
