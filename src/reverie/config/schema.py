"""The configuration of a run: one frozen tree in which every option is documented and bounded."""

import functools
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, PrivateAttr, Strict

from reverie.config.sections.agent import AgentConfig
from reverie.config.sections.devices import JaxConfig
from reverie.config.sections.env import EnvConfig
from reverie.config.sections.parallel import RayConfig
from reverie.config.syntax import yaml_text
from reverie.config.syntax.keys import groups, leaves
from reverie.disk import whole_file
from reverie.options import (
    Bool,
    Float,
    FloatOrInf,
    Int,
    PathText,
    Regex,
    Section,
    Text,
    option,
)


def task_name(value: Any) -> Any:
    """The name of a task with its suite; that of a gymnasium id may be left out."""
    suites = {*EnvConfig.model_fields, "custom"}
    if not isinstance(value, str) or value.partition("_")[0] in suites:
        return value
    return f"gym_{value}" if re.fullmatch(r"([\w.]+:)?([\w.-]+/)?[\w.-]+-v\d+", value) else value


def suite_of(task: str) -> str:
    """The suite whose options a task has: that of gymnasium for environments of the user."""
    suite = task.partition("_")[0]
    own = suite == "custom" or (":" in task and suite not in ("gym", "dm"))
    return "gym" if own else suite


Task = Annotated[str, Strict(), BeforeValidator(task_name)]
"""A task; `CartPole-v1` becomes `gym_CartPole-v1`."""

SEQUENCE = "it sets the length of the sequences that replay holds"


class RunConfig(Section):
    """The training loop."""

    steps: Int = option(1_000_000, "Environment steps (of the agent, over all environments).", ge=1)
    duration: Float = option(0.0, "Wall-clock limit of the run, in seconds; 0: none.", ge=0)
    envs: Int = option(16, "Parallel training environments.", ge=1, le=4096)
    eval_envs: Int = option(
        4, "Parallel evaluation environments, at most one per episode.", ge=1, le=4096
    )
    eval_eps: Int = option(8, "Episodes per evaluation.", ge=1)
    final_eval_eps: Int = option(
        0, "Episodes of the evaluation after a finished run; 0: no evaluation.", ge=0
    )
    final_eval_video: bool = option(
        False, "Film that evaluation, where the environment can be rendered, as evaluation.mp4."
    )
    eval_every: Float = option(300.0, "Seconds between evaluations; 0: never.", ge=0)
    eval_max_steps: Int = option(
        0, "Steps after which an episode of an evaluation is cut; 0: no limit.", ge=0
    )
    side_share: Float = option(
        0.1,
        "Most of the wall clock that reports, evaluations and pictures may take together, where "
        "their intervals ask for more; 1: no limit.",
        gt=0,
        le=1,
    )
    train_ratio: Float = option(
        32.0,
        "Replayed steps per environment step: updates per environment step times "
        "`batch_size * batch_length`.",
        ge=0,
    )
    log_every: Float = option(120.0, "Seconds between written metrics.", gt=0)
    report_every: Float = option(300.0, "Seconds between open-loop reports; 0: never.", ge=0)
    save_every: Float = option(900.0, "Seconds between checkpoints; 0: only at the end.", ge=0)
    report_batches: Int = option(1, "Batches per report.", ge=1)
    from_checkpoint: PathText = option(
        "",
        "Run folder, or checkpoint in one, whose parameters a new run starts from, also of the "
        "original implementation; empty: none.",
    )
    from_checkpoint_regex: Regex = option(
        ".*",
        "Names of the parameters that are taken from it, such as params/dyn/.",
        expects="a regular expression",
    )
    env_backend: Literal["auto", "sync", "async", "native"] = option(
        "auto",
        "Step environments in this process (sync), in their own processes (async), all together in "
        "the suite's own engine (native), or as fits.",
    )
    env_timeout: Float = option(
        300.0,
        "Seconds that a reset or step may take before the environment's process counts as hung and "
        "is replaced; 0: no limit.",
        ge=0,
    )
    env_max_restarts: Int = option(
        10,
        "Restarts, over all environments and within `env_restart_window`, after which the next "
        "failure of an environment stops the run; 0: the first one does.",
        ge=0,
    )
    env_restart_window: Float = option(3600.0, "Seconds within which restarts count.", gt=0)
    debug: Bool = option(False, "Check every transition and batch, and fail where the error is.")


class FractionsConfig(Section):
    """Shares of the selectors in a batch; they sum to one."""

    uniform: Float = option(1.0, "Share of uniformly drawn sequences.", ge=0, le=1)
    priority: Float = option(0.0, "Share of sequences drawn by priority.", ge=0, le=1)
    recency: Float = option(0.0, "Share of sequences drawn by recency.", ge=0, le=1)


class PriorityConfig(Section):
    """The prioritized selector."""

    exponent: Float = option(0.8, "Exponent of the priorities; 0: uniform.", ge=0)
    maxfrac: Float = option(
        0.5, "Weight of the largest step priority of a sequence; the mean has the rest.", ge=0, le=1
    )
    initial: FloatOrInf = option(float("inf"), "Priority of a step that was given none.", gt=0)
    zero_on_sample: Bool = option(
        True, "Drawing a sequence zeroes its priority until its update; not with log/ signals."
    )


class ReplayConfig(Section):
    """The replay buffer."""

    size: Int = option(
        5_000_000,
        "Capacity in steps, over all environments. Where nothing sets it, less if that does not "
        "fit into memory or on the disk.",
        ge=1,
    )
    eval_size: Int = option(
        20_000,
        "Steps of evaluation episodes that script train_eval keeps in RAM for reports; 0: none.",
        ge=0,
    )
    chunksize: Int = option(
        1024, "Steps per storage chunk.", fixed="it sets the layout of the saved replay", ge=1
    )
    storage: Literal["auto", "ram", "disk"] = option(
        "auto",
        "Where steps live; disk: in the run folder, with memory bounded by `ram_gb`; auto: in RAM "
        "if all of them fit there.",
    )
    ram_gb: Float = option(
        8.0,
        "Memory in GB (1e9 bytes) that replay on disk may take; auto takes less if need be.",
        ge=0.1,
    )
    compress: Literal["none", "lz4"] = option(
        "none", "How images are compressed in the files of replay, without loss."
    )
    online: Bool = option(True, "Train once on every fresh sequence before sampling.")
    selector: Text = option(
        "fracs",
        "What draws the sequences: `fracs`, the built-in selectors by their shares, or a class of "
        "your own as `module:Class`.",
        pattern=r"^(fracs|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$",
        expects="'fracs' or 'module:Class'",
    )
    fracs: FractionsConfig = FractionsConfig()
    prio: PriorityConfig = PriorityConfig()
    recexp: Float = option(1.0, "Exponent of the recency weight 1 / age^recexp.", ge=0)
    priosignal: Text = option(
        "model",
        "What priorities measure: model, the model loss of each step, or a key log/NAME of info.",
        fixed="priorities in replay were measured so",
        pattern="^(model|log/.+)$",
        expects="model or log/NAME",
    )


Output = Literal["terminal", "jsonl", "tensorboard", "wandb", "scope", "trackio"]


class LoggerConfig(Section):
    """Where metrics go."""

    outputs: tuple[Output, ...] = option(("terminal", "jsonl"), "Sinks that receive the metrics.")
    filter: Regex = option(
        "score|length|fps|ratio|train/loss/|openloop/",
        "Metrics that all sinks but jsonl get, which gets all; `.*` lets everything through.",
        expects="a regular expression",
    )
    fps: Int = option(15, "Frames per second of videos.", ge=1, le=240)


class Config(Section):
    """The whole configuration.

    Build it with `reverie.config.load.load`, which also runs the checks that span several options.
    Two configurations are equal when all options are, wherever the values came from.
    """

    task: Task = option(
        "dummy_disc",
        "Environment as `suite_name`, for example `dmc_walker_walk`, or an own one as "
        "`module:Class`.",
        fixed="the agent and the replay belong to one task",
        pattern=r"^([A-Za-z0-9]+_.+|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*)$",
        expects="suite_name, such as gym_CartPole-v1 or dmc_walker_walk, or module:Class",
    )
    seed: Int = option(0, "Seed of environments, replay and agent.", ge=0, lt=2**32)
    logdir: PathText = option(
        "~/logdir/{timestamp}",
        "Run folder; `{timestamp}` becomes the start time, `{task}` the task and `{seed}` the "
        "seed. An existing run is resumed.",
        min_length=1,
    )
    script: Literal["train", "train_eval", "parallel", "eval_only"] = option(
        "train", "What the run does."
    )
    batch_size: Int = option(16, "Sequences per batch.", ge=1)
    batch_length: Int = option(64, "Trained steps per sequence.", fixed=SEQUENCE, ge=2)
    report_length: Int = option(
        32, "Steps per report sequence; the first half is observed, the rest imagined.", ge=2
    )
    consec_train: Int = option(
        1, "Consecutive chunks of `batch_length` steps trained in turn.", fixed=SEQUENCE, ge=1
    )
    consec_report: Int = option(1, "Consecutive chunks of `report_length` steps in reports.", ge=1)
    replay_context: Int = option(
        1,
        "Steps before each sequence whose stored latents start it; 0: start from zeros.",
        fixed=SEQUENCE,
        ge=0,
    )
    random_agent: Bool = option(
        False, "Act at random and learn nothing.", fixed="a checkpoint holds one kind of agent"
    )
    run: RunConfig = RunConfig()
    replay: ReplayConfig = ReplayConfig()
    jax: JaxConfig = JaxConfig()
    ray: RayConfig = RayConfig()
    logger: LoggerConfig = LoggerConfig()
    env: EnvConfig = EnvConfig()
    agent: AgentConfig = AgentConfig()

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Config):
            return NotImplemented
        return self.model_dump() == other.model_dump()

    @property
    def suite(self) -> str:
        """As `suite_of`, of the task."""
        return suite_of(self.task)

    @property
    def repeat(self) -> int:
        """Frames per step: how often the suite of the task repeats each action."""
        return getattr(getattr(self.env, self.suite, None), "repeat", 1)

    @property
    def sources(self) -> dict[str, str]:
        """Where each option that something set got its value; the others have their defaults."""
        return dict(self._sources)

    def value(self, key: str) -> Any:
        """The value of the option of a dotted key."""
        return functools.reduce(getattr, key.split("."), self)

    @classmethod
    def from_values(cls, values: Mapping[str, Any], sources: Mapping[str, str]) -> Self:
        """The configuration of values by dotted key, with where they came from."""
        tree: dict[str, Any] = {}
        for key, value in values.items():
            *parents, name = key.split(".")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[name] = value
        config = cls.model_validate(tree)
        config._sources.update(sources)
        return config

    def to_yaml(self, path: str | os.PathLike[str]) -> None:
        """Write all options as YAML; a crash leaves the old file or the new one, never a part."""
        with whole_file(Path(path)) as partial:
            text = yaml_text.one_option_a_line(self.model_dump(), groups(type(self)))
            partial.write_text(text, encoding="utf-8")


def unset(config: Config, keys: Iterable[str]) -> list[str]:
    """Those of some options that nothing has set, so that they have their defaults."""
    return [key for key in keys if key not in config.sources]


def with_values(config: Config, values: Mapping[str, Any], source: str) -> Config:
    """The configuration with other values of some dotted keys, and where they come from."""
    present = {key: config.value(key) for key in leaves(Config)}
    sources = config.sources | dict.fromkeys(values, source)
    return Config.from_values(present | dict(values), sources)
