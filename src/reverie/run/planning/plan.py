"""What a run will take, told before it begins: memory, disk and time."""

import contextlib
import dataclasses
import pathlib
import statistics
import tempfile
import time
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from reverie.config.schema import Config, with_values
from reverie.errors import ConfigError
from reverie.learner.compilation.programs import state_shapes
from reverie.replay.budget import Budget
from reverie.run.parts import build, defaults, experience
from reverie.run.parts.setup import set_up
from reverie.run.parts.shutdown import Shutdown
from reverie.run.parts.start import model_line, open_collector, prepare, updates_line
from reverie.run.parts.state import Run
from reverie.run.planning.card import CARDS, SHARE, estimate
from reverie.run.planning.device_memory import available, needed
from reverie.run.saved.folder import RunFolder
from reverie.spaces import FLAGS, Space
from reverie.track.sinks.format import format_duration

SECONDS = 3.0
"""How long updates are measured, and steps; at least three of each."""

NOTE = (
    "All of {card} is an estimate from its published figures, at whose peaks nothing runs. "
    "Only the environments were measured, here."
)

ROOM = 0.9
"""Of the memory of a device, what programs can take: it is never free of gaps."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run will take. Bytes, and GB are 1e9 of them; seconds.

    All is measured, but on a described card the update, the policy and its memory are estimated.

    Attributes:
        config: Resolved configuration.
        model: Its size in words; empty for random actions.
        state: Bytes of the parameters with the optimizer and slow copies.
        program: Bytes on a device while an update runs, the state among them.
        device: What trains.
        available: Bytes of memory that it has, or that this machine has left.
        budget: What replay needs.
        update: Seconds of an update.
        step: Seconds in which every environment makes one step, with the choice of actions.
        policy: Seconds among them that choose the actions.
        card: Name of the described card; empty where this machine trains.
    """

    config: Config
    model: str
    state: int
    program: int
    device: str
    available: float
    budget: Budget
    update: float
    step: float
    policy: float
    card: str = ""

    @property
    def fits(self) -> bool:
        """Whether there is room for an update and for replay."""
        return self.program <= self.available and not self.budget.problem

    @property
    def updates_per_step(self) -> float:
        """Updates for each environment step, by the train ratio."""
        config = self.config
        if not self.model:
            return 0.0
        return config.run.train_ratio / (config.batch_size * config.batch_length)

    @property
    def seconds(self) -> float:
        """Time for all steps of the run, without evaluations, reports and compilation."""
        steps = self.config.run.steps / self.config.run.envs
        updates = self.config.run.steps * self.updates_per_step
        acting, learning = steps * self.step, updates * self.update
        # An accelerator learns while environments and policy work; a CPU is one for all.
        return acting + learning if self.device.startswith("cpu") else max(acting, learning)

    @property
    def largest_batch(self) -> int:
        """Sequences in a batch for which the device has room, as many as share it evenly."""
        row = (self.program - self.state) / self.config.batch_size
        return int(max(0.0, ROOM * self.available - self.state) / row) if row else 0

    @property
    def largest_model(self) -> str:
        """The largest size for which an accelerator has room with this batch, or an empty string.

        On a CPU memory is not what bounds it.
        """
        if self.device.startswith("cpu"):
            return ""
        steps = self.config.batch_size * self.config.batch_length / (16 * 64)
        room = self.available / max(1.0, steps)
        # A model of n million parameters has about 11 bytes of state for each. Smaller ones than
        # that of the plan are no news where it fits.
        least = 0 if self.program > self.available else self.state
        return next(
            (
                name
                for name, needed in defaults.MEMORY.items()
                if room >= needed and 11e6 * int(name[4:-1]) >= least
            ),
            "",
        )

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.rows())
        return "\n".join(f"{name:<{width}}  {text}" for name, text in self.rows())

    def rows(self) -> list[tuple[str, str]]:
        """What it says, line by line: what about, and the text."""
        config, run = self.config, self.config.run
        rate = run.steps / self.seconds
        rows = [("Task", f"{config.task}, {run.envs} environment{'s' * (run.envs > 1)}")]
        if self.model:
            rows += [("Model", self.model), ("Memory", self._memory())]
            rows += [("Updates", updates_line(config))]
        replay = self.budget.problem or str(self.budget)
        rows += [("Replay", replay.removeprefix("Replay "))]
        act = f", {_time(self.policy)} of it the policy" if self.model else ""
        learn = f"an update {_time(self.update)}, " if self.model else ""
        how = "Estimated" if self.card else "Measured"
        rows += [
            (how, f"{learn}a step of all environments {_time(self.step)}{act}"),
            ("Speed", f"{rate:,.3g} steps/s, {rate * self.updates_per_step:,.3g} updates/s"),
            ("Time", f"{_time(self.seconds)} for {run.steps:,} steps, without evaluations"),
        ]
        if self.card:
            rows += [("Note", NOTE.format(card=self.card))]
        return rows

    def _memory(self) -> str:
        used = f"{self.program / 1e9:.2f} of {self.available / 1e9:.1f} GB on {self.device}"
        model = f", or a model up to {self.largest_model}" if self.largest_model else ""
        batch = f"batch_size up to about {self.largest_batch:,} (now {self.config.batch_size})"
        if self.program > self.available:
            return f"an update takes {used}: it does not fit. There is room for a {batch}{model}."
        return f"an update takes {used}; there is room for a {batch}{model}"


def plan(config: Config, card: str = "this") -> Plan:
    """Builds everything that a run needs, and measures it for some seconds; leaves nothing behind.

    Args:
        config: Resolved configuration, as for `train`.
        card: `this` machine, or a key of `CARDS`, to estimate what training on that would take.

    Raises:
        ConfigError: If there is no such card, or the configuration does not fit the environment.
        DeviceError: If a device that the configuration asks for does not exist.
        FlopsError: If operations of an update cannot be counted, for a described card.
    """
    card = card.lower()
    if card not in ("this", *CARDS):
        raise ConfigError(f"--card is {card}; expected this or one of {', '.join(CARDS)}.")
    if config.jax.coordinator:
        raise ConfigError("A plan is for one process: leave jax.coordinator out.")
    described = card != "this" and not config.random_agent
    real = RunFolder(pathlib.Path(config.logdir).expanduser().absolute())
    with contextlib.ExitStack() as stack:
        shutdown = stack.enter_context(Shutdown("stopping."))
        root = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        values = {
            "logdir": f"{root}/run",
            "script": "train",
            "logger.outputs": (),
            "run.from_checkpoint": "",
            "run.duration": 1.0,  # What does not fit is told instead of refused.
        }
        values |= {"random_agent": True} if described else {}
        trial = with_values(config, values, "plan")
        run = set_up(trial, None, shutdown, stack)
        prepare(run)
        with shutdown.interruptible():
            collector = open_collector(run, stack)
            collector.set_params(run.learner.acting()) if run.learner else None
            step = _seconds(collector.collect, statistics.fmean)
            if described:
                return _described(config, run, real, card, step)
            update, policy = _measure(run, trial.run.envs) if run.learner else (0.0, 0.0)
        budget = _budget(config, run, run.latents, real)
        return _plan(config, run, budget, update=update, step=step, policy=policy)


def _budget(config: Config, run: Run, latents: Mapping[str, Space], folder: RunFolder) -> Budget:
    untold = with_values(config, {"run.duration": 1.0}, "plan")
    return experience.budget(untold, run.spaces, latents, folder.replay)


def _described(config: Config, run: Run, folder: RunFolder, card: str, step: float) -> Plan:
    """The plan for a card that is not here, of whose machine the environments were measured."""
    room = SHARE * CARDS[card].memory
    device: Any = types.SimpleNamespace(memory_stats=lambda: {"bytes_limit": room})
    place: Any = types.SimpleNamespace(platform="gpu", here=[device])
    spaces = run.source.spaces()
    config, _ = defaults.choose_size(config, place, spaces.obs)
    agent = build.agent(config, spaces.obs, spaces.act, place.platform)
    found = estimate(config, agent, CARDS[card])
    return Plan(
        config,
        model=model_line(state_shapes(agent)),
        state=found.state,
        program=found.program,
        device=card,
        available=room,
        budget=_budget(config, run, agent.latent_spaces, folder),
        update=found.update,
        step=step + found.policy,
        policy=found.policy,
        card=card,
    )


def _plan(config: Config, run: Run, budget: Budget, **seconds: Any) -> Plan:
    if not run.learner:
        return Plan(config, "", 0, 0, "", 0.0, budget, **seconds)
    learner = run.learner
    return Plan(
        config,
        model=model_line(learner.shapes),
        state=learner.nbytes,
        program=needed(learner),
        device=str(learner.placement.here[0]).lower(),
        available=available(learner),
        budget=budget,
        **seconds,
    )


def _measure(run: Run, envs: int) -> tuple[float, float]:
    """Seconds of an update, and of choosing the actions of all environments."""
    learner, batch = run.learner, run.batches.example()
    assert learner is not None
    learner.wait("train", batch)

    def update() -> None:
        learner.update(batch)
        learner.synchronize()

    obs = {k: np.zeros((envs, *x.shape), x.dtype) for k, x in learner.agent.obs_space.items()}
    obs |= {flag: np.zeros(envs, bool) for flag in FLAGS}
    carry = run.policy.init(envs)
    return _seconds(update), _seconds(lambda: run.policy.act(carry, obs, "train"))


def _seconds(call: Callable[[], object], average: Callable = statistics.median) -> float:
    """Seconds of a call, after one that may compile."""
    call()
    times: list[float] = []
    end = time.monotonic() + SECONDS
    while len(times) < 3 or time.monotonic() < end:
        start = time.monotonic()
        call()
        times.append(time.monotonic() - start)
    return average(times)


def _time(seconds: float) -> str:
    if seconds >= 60:
        return format_duration(seconds)
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
