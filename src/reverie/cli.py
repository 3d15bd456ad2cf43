"""The `reverie` command: a thin dispatch; options belong to the configuration."""

import contextlib
import difflib
import errno
import functools
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reverie.commands import help_texts, process
from reverie.commands.words import UsageError, flag, take
from reverie.extras import install

if TYPE_CHECKING:
    from reverie.config.schema import Config


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: Words after the program name; those of the process by default.

    Returns:
        Exit code: 0 for success, 2 for an error that was explained, 128 plus the signal's number
        after Ctrl-C (130) or SIGTERM (143), when the run has been saved.
    """
    process.open_streams()
    if argv is None:
        process.use_huge_pages(sys.argv[1:2])
        process.take_signals()
    process.find_modules_here()
    code = _run(list(sys.argv[1:] if argv is None else argv))
    compiler = sys.modules.get("reverie.learner.compilation.compiler")
    if argv is None and compiler:
        compiler.leave(code)
        if hosts := sys.modules.get("reverie.learner.placement.hosts"):
            hosts.vanish(code)
    return code


def _run(words: list[str]) -> int:
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of the output, such as `head`, has left: nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        # Only writing to a stream tells no file: what a command has to say, a full disk refuses.
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and not error.filename:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            print(f"reverie: The output could not be written: {error.strerror}.", file=sys.stderr)
            return 2
        from reverie.commands.explain import explain  # What all options need comes with it.

        message = explain(error)
        if message is None:
            raise
        print(f"reverie: {message}", file=sys.stderr)
        return 2


def _dispatch(words: list[str]) -> int:
    command, *rest = words or ["--help"]
    if command in ("--help", "-h", "help"):
        print(help_texts.USAGE)
        return 0
    if command == "--version":
        from reverie import __version__

        print(f"reverie {__version__}")
        return 0
    if command == "--learner":  # Of script parallel, which starts itself so.
        from reverie.commands.parallel import learn
        from reverie.commands.train import train_one

        return learn(rest, lambda *args: train_one(*args).exit_code)
    if command not in _COMMANDS:
        known = ", ".join(_COMMANDS)
        near = difflib.get_close_matches(command, _COMMANDS, n=1)
        known += f". Did you mean {near[0]}?" if near else "."
        raise UsageError(f"Unknown command '{command}'; the commands are {known} See --help.")
    run, text = _COMMANDS[command]
    if "--help" in rest or "-h" in rest:
        print(text)
        return 0
    return run(rest)


def _train(words: list[str]) -> int:
    from reverie.commands.train import train, train_seeds

    if any(word.partition("=")[0] == "--seeds" for word in words):
        return train_seeds(words, _run_config)
    return train(_run_config(words))


def _run_config(words: list[str]) -> "Config":
    from reverie.config.load import load_run

    trust, words = flag(words, "trust")
    config = load_run(words, trust=trust)
    if "task" not in config.sources:
        given = not config.sources["logdir"].startswith("default")
        found = f", and {config.logdir} holds no run to go on with" if given else ""
        if given and os.path.exists(f"{config.logdir}/config.yaml"):
            found = f", and the run in {config.logdir} goes on only without --configs"
        raise UsageError(
            f"No --task given{found}: say what to train on, for example --task CartPole-v1 or "
            "--configs quickstart; `reverie envs` lists the suites."
        )
    return config


def _eval(words: list[str]) -> int:
    video, words = flag(words, "video")
    as_json, words = flag(words, "json")
    logdir, trust, words = _episodes(words, "eval", 10)
    from reverie.run.eval_only import eval_run

    with process.kept_for_document() if as_json else contextlib.nullcontext():
        outcome = eval_run(logdir, words, video=video, trust=trust)
    assert outcome.evaluation is not None
    print(json.dumps(outcome.evaluation.to_json()) if as_json else outcome.summary())
    return outcome.exit_code


def _video(words: list[str]) -> int:
    output, words = take(words, "output", default="")
    logdir, trust, words = _episodes(words, "video", 3)
    from reverie.run.eval_only import eval_run

    # One environment plays all of them, so that none is missing.
    words = ["--run.eval_envs", "1", *words]
    outcome = eval_run(logdir, words, video=output or True, record=False, trust=trust)
    print(outcome.summary())
    filmed = outcome.evaluation and outcome.evaluation.video
    return outcome.exit_code or int(not filmed)


def _episodes(words: list[str], command: str, default: int) -> tuple[str, bool, list[str]]:
    """Run folder, trust, and flags of the run, of a command that plays episodes."""
    logdir, words = take(words, "logdir", command)
    episodes, words = take(words, "episodes", default=str(default))
    trust, words = flag(words, "trust")
    if words and not words[0].startswith("-"):
        raise UsageError(f"reverie {command} takes one folder; {words[0]} is one too many.")
    if not episodes.isdecimal() or not int(episodes):
        raise UsageError(f"--episodes is {episodes}; expected a whole number >= 1.")
    return logdir, trust, ["--run.eval_eps", episodes, "--logger.outputs", "jsonl", *words]


def _plot(words: list[str]) -> int:
    output, words = take(words, "output", default="")
    baseline, words = take(words, "baseline", default="")
    axis, words = take(words, "x", default="steps")
    folders = []
    while words:
        if words[0].startswith("-") and words[0].partition("=")[0] != "--logdir":
            raise UsageError(f"reverie plot does not know {words[0]}. See reverie plot --help.")
        folder, words = take(words, "logdir", "plot")
        folders.append(folder)
    if not folders:
        take([], "logdir", "plot")  # Raises.
    from reverie.run.plot import plot_one, plot_runs

    picture = not output or output.endswith(".png")
    alone = len(folders) == 1 and not baseline and axis == "steps" and picture
    paths = plot_one(folders[0], output) if alone else []
    for path in paths or plot_runs(folders, output, axis, baseline):
        print(path)
    return 0


def _plan(words: list[str]) -> int:
    card, words = take(words, "card", default="this")
    config = _run_config(words)
    from reverie.run.planning.plan import plan

    made = plan(config, card=card)
    print(made)
    return 0 if made.fits else 1


def _config(words: list[str]) -> int:
    from reverie.config.load import load
    from reverie.config.printing import describe
    from reverie.config.saved_runs.foreign import SavedRun, from_folder

    folder, words = take(words, "from", default="")
    options, rest = from_folder(folder) if folder else ({}, [])
    for note in rest:
        print(f"# Left out: {note}")
    saved = SavedRun(options, {}, f"file {os.path.join(folder, 'config.yaml')}")
    print(describe(load(words, saved=saved, expand=False)), end="")
    return 0


def _envs(words: list[str]) -> int:
    if words[:1] == ["check"]:
        return _check_env(words[1:])
    if words:
        raise UsageError(f"reverie envs does not know {' '.join(words)}. See reverie envs --help.")
    from rich.console import Console

    from reverie.envs.listing import overview

    table, missing = overview()
    # As wide as the terminal, or 120 characters where there is none.
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    print("\n".join(missing))
    return 0


def _check_env(words: list[str]) -> int:
    task, *words = words or [""]
    if not task or task.startswith("--"):
        raise UsageError("reverie envs check needs a task. See reverie envs --help.")
    steps, words = take(words, "steps", default="200")
    if words and not words[0].startswith("-"):
        raise UsageError(f"reverie envs check takes one task; {words[0]} is one too many.")
    if not steps.isdecimal():
        raise UsageError(f"--steps is {steps}; expected a whole number.")
    from reverie.config.load import load
    from reverie.envs.check import check
    from reverie.envs.registry import full_name, split

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


def _doctor(words: list[str]) -> int:
    as_json, words = flag(words, "json")
    trust, words = flag(words, "trust")
    task, words = take(words, "env", default="")
    logdir, words = ("", words) if task else take(words, "logdir", "doctor")
    if words and not task:
        raise UsageError(f"reverie doctor does not know {' '.join(words)}. See --help.")
    from reverie.doctor.environment import examine_env
    from reverie.doctor.examine import examine_run
    from reverie.doctor.line import as_json as to_json
    from reverie.doctor.line import as_text, exit_code

    with process.kept_for_document() if as_json else contextlib.nullcontext():
        lines = examine_env(task, words) if task else examine_run(logdir, trust)
    print(to_json(lines) if as_json else as_text(lines))
    return exit_code(lines)


def _view(words: list[str]) -> int:
    host, words = take(words, "host", default="127.0.0.1")
    port, words = take(words, "port", default="")
    trust, words = flag(words, "trust")
    folder, words = take(words, "logdir", default=".")
    if words:
        raise UsageError(f"reverie view does not know {' '.join(words)}. See reverie view --help.")
    try:
        from reverie.view.server import serve
    except ModuleNotFoundError as error:
        raise UsageError(
            f"reverie view needs the package {error.name}: {install('view')}"
        ) from None
    serve(folder, host, port, trust)
    return 0


def _look(command: str, default: str, words: list[str]) -> int:
    """`info` and `runs`, which print something about a folder."""
    as_json, words = flag(words, "json")
    folder, words = take(words, "logdir", default=default)
    if words:
        raise UsageError(
            f"reverie {command} does not know {' '.join(words)}. See reverie {command} --help."
        )
    from reverie.commands.info import print_info, print_runs

    {"info": print_info, "runs": print_runs}[command](folder, as_json)
    return 0


def _metrics(words: list[str]) -> int:
    if unknown := [word for word in words if word.startswith("-")]:
        raise UsageError(f"reverie metrics does not know {unknown[0]}. See reverie metrics --help.")
    from reverie.commands.metrics import print_metrics

    print_metrics(words)
    return 0


def _completion(words: list[str]) -> int:
    from reverie.commands.completion import SHELLS, script

    if len(words) != 1 or words[0] not in SHELLS:
        raise UsageError(f"reverie completion takes one of {', '.join(SHELLS)}.")
    print(script(words[0], {name: text for name, (_, text) in _COMMANDS.items()}), end="")
    return 0


_COMMANDS = {
    "train": (_train, help_texts.TRAIN),
    "eval": (_eval, help_texts.EVAL),
    "video": (_video, help_texts.VIDEO),
    "plan": (_plan, help_texts.PLAN),
    "plot": (_plot, help_texts.PLOT),
    "doctor": (_doctor, help_texts.DOCTOR),
    "view": (_view, help_texts.VIEW),
    "runs": (functools.partial(_look, "runs", "."), help_texts.RUNS),
    "info": (functools.partial(_look, "info", ""), help_texts.INFO),
    "metrics": (_metrics, help_texts.METRICS),
    "config": (_config, help_texts.CONFIG),
    "envs": (_envs, help_texts.ENVS),
    "completion": (_completion, help_texts.COMPLETION),
}
