"""The Python interface. Everything heavy is imported when it is used."""

import atexit
import contextlib
import dataclasses
import functools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    import gymnasium

    from reverie.actors.collector import Collector
    from reverie.envs.notes import Finding
    from reverie.run.hooks import Hook
    from reverie.run.saved.result import Outcome
    from reverie.run.trained import TrainedAgent
    from reverie.track.sinks.base import Sink

P = ParamSpec("P")
R = TypeVar("R")


def _led_by_message(function: Callable[P, R]) -> Callable[P, R]:
    """Errors that say themselves what to do come without the lines of code that found them.

    Others come without our local variables. With the environment variable REVERIE_DEBUG both keep
    them.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            if os.environ.get("REVERIE_DEBUG"):
                raise
            _let_go(error)
            if type(error).__module__.partition(".")[0] != __package__:
                raise
            raise error.with_traceback(None) from None

    return call


def _let_go(error: BaseException | None) -> None:
    """Empties our frames below an error, but not those of the user, which a debugger may look at.

    A notebook keeps its last error, and with it replay and what is on the devices, while the same
    cell is run again.
    """
    while error is not None:
        for below, _ in traceback.walk_tb(error.__traceback__):
            for frame, _ in traceback.walk_stack(below):
                if frame.f_globals.get("__name__", "").startswith(f"{__package__}."):
                    with contextlib.suppress(RuntimeError):  # It has not ended.
                        frame.clear()
        error = error.__context__


@_led_by_message
def train(
    env: "str | gymnasium.Env | Callable[[], gymnasium.Env]",
    /,
    configs: "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]" = (),
    *,
    callbacks: "Sequence[Hook]" = (),
    sinks: "Sequence[Sink]" = (),
    collector: "Collector | None" = None,
    **overrides: Any,
) -> "Outcome":
    """Trains an agent on an environment, or goes on with the run in the same `logdir`.

    Example:
        >>> reverie.train("CartPole-v1", configs="quickstart", seed=1)
        >>> reverie.train(MyEnv, configs="small", run={"steps": 50_000})
        >>> reverie.train(MyEnv, configs=["small", "size12m"], env={"gym": {"size": [64, 64]}})

    Args:
        env: A task such as `dmc_walker_walk`, a gymnasium id, an environment class, a function
            that makes an environment, or an environment. Others like it are made by
            `gymnasium.make` or by copying it; where that would lose something it is the only
            one, so that `run.envs` is 1, which a line of the output says.
        configs: Names of preset blocks or paths of yaml files, later ones win. Without any, an
            existing run goes on with its saved configuration, under the overrides.
        callbacks: Functions that are called with the run after every step of the training loop,
            or once per minute as `reverie.Every(60, function)`. The run has `steps`, `updates`,
            `logger`, `learner`, `replay`, `folder` and `save()`.
        sinks: Outputs of metrics besides `logger.outputs`: objects with the methods of
            `reverie.track.sinks.base.Sink`. One that raises is reported and switched off.
        collector: What makes the steps that are trained on, in place of `run.envs` environments
            with the policy: an object with the methods of `reverie.actors.collector.Collector`.
        **overrides: Options, as nested mappings (`run={"steps": 1000}`) or as dotted keys
            (`**{"run.steps": 1000}`).

    Returns:
        How the run ended: run folder, steps, updates, and the evaluation if one was asked for.

    Raises:
        ConfigError: If an option is unknown or invalid, or the folder holds another run.
        FolderInUseError: If another process trains in the folder.
        KeyboardInterrupt: After Ctrl-C, when the run has been saved.
        SystemExit: After SIGTERM or SIGHUP, when the run has been saved; its code is 128 plus the
            number of the signal.
    """
    from reverie.config.load import load_run
    from reverie.errors import ConfigError
    from reverie.run.environments import custom
    from reverie.run.scripts import launch

    if "task" in overrides:
        raise ConfigError("The environment is the first argument; leave the option task out.")
    source = custom.resolve(env)
    config = load_run(configs=configs, overrides={**overrides, "task": source.task})
    config = custom.limited(config, source)
    source = dataclasses.replace(source, config=config.env)
    outcome = launch(config, source, callbacks=callbacks, sinks=sinks, collector=collector)
    if outcome.interrupted == signal.SIGINT:
        raise KeyboardInterrupt(outcome.summary())
    if outcome.interrupted:
        from reverie.learner.compilation.compiler import leave

        print(outcome.summary(), file=sys.stderr)
        atexit.register(leave, outcome.exit_code)  # After whatever the program does until then.
        raise SystemExit(outcome.exit_code)
    return outcome


@_led_by_message
def load(
    logdir: str | os.PathLike[str], *, device: Any = None, trust: bool = False
) -> "TrainedAgent":
    """Loads the newest checkpoint of a run, to act with it.

    That reads parameters alone, and changes no settings of JAX or of the process.

    Args:
        logdir: Run folder.
        device: Where it acts: a device of JAX or its name, such as `cpu` or `cuda:1`; by default
            the one that JAX prefers.
        trust: Whether a folder that was made elsewhere may name code, which is imported and run:
            an encoder or an environment of its own.

    Returns:
        An agent with `policy(obs, state) -> action, state` for an environment as it is, without
        wrappers, or for many of them, and `evaluate(env, episodes)`.

    Raises:
        ConfigError: If there is no run in the folder.
        CheckpointError: If it has no valid checkpoint.
        DeviceError: If there is no such device.
    """
    from reverie.run.load import load_agent

    return load_agent(logdir, device, trust)


@_led_by_message
def make(task: str, **options: Any) -> "gymnasium.Env":
    """Makes the environment of a task as an ordinary gymnasium environment.

    Args:
        task: A task such as `dmc_walker_walk`, or a gymnasium id.
        **options: Settings of the suite, as under `env.<suite>` in the configuration.

    Returns:
        The environment with its own spaces, as `TrainedAgent.policy` expects them. Training sees
        it through `reverie.envs.wrappers.wrap`.

    Raises:
        UnknownTaskError: If there is no such suite or task.
        MissingPackageError: If the package of the suite is not installed.
    """
    from reverie.envs import registry
    from reverie.envs.flat.conform import native
    from reverie.run.environments.custom import resolve

    return native(registry.make(resolve(task).task, options))


@_led_by_message
def check(
    env: "str | gymnasium.Env | Callable[[], gymnasium.Env]", /, *, steps: int = 200
) -> "list[Finding]":
    """Looks for mistakes in an environment, with random actions, before anything is trained.

    Example:
        >>> print(*reverie.check(MyEnv), sep="\\n")

    Args:
        env: A task, a gymnasium id, an environment class, a function that makes an environment,
            or an environment, which is left open.
        steps: Random steps to take, at least 100.

    Returns:
        What was found, worst first; errors stop training. A faultless environment has only notes.
    """
    from reverie.envs import registry
    from reverie.envs.check import check

    return check(registry.full_name(env) if isinstance(env, str) else env, steps=steps)
