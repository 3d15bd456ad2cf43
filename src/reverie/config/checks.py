"""Checks that span several options, made before any work.

`check` needs the configuration alone; `check_spaces` is called once the spaces are known.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from reverie.config.schema import Config, FractionsConfig
from reverie.config.sections.agent import AgentConfig, NormConfig, StackConfig
from reverie.config.sections.devices import device_problems
from reverie.errors import ConfigError
from reverie.spaces import Space

_GRID = range(3, 17)
"""Sides of the image grid that the convolutional stacks may end in."""

MAX_CLASSES = 100_000
"""Classes of a key: every step becomes a vector of as many numbers, in the networks too."""

_LARGEST = 96
"""Longest side to which images are resized unasked: that of published results on Atari."""

_RESIZE = (
    "env.gym.size, such as [64, 64], resizes images of gymnasium environments; dm and envpool have "
    "the same option."
)


def check(config: Config) -> None:
    """Check that the options fit together.

    Raises:
        ConfigError: They do not; the message lists everything that is wrong.
    """
    parts = (_replay, _batches, _model, _images, _training, _parallel)
    problems = [problem for part in parts for problem in part(config)]
    problems += [*device_problems(config.jax, config.batch_size), *_processes(config)]
    if problems:
        lines = "".join(f"\n- {_with_sources(problem, config)}" for problem in problems)
        raise ConfigError(f"The configuration does not fit together:{lines}")


def image_sides(net: StackConfig) -> range:
    """Heights and widths in pixels that a convolutional stack takes.

    Every stage halves the image, except the first one with `outer`; the last grid must have 3..16
    cells on each side.
    """
    factor = 2 ** (len(net.mults) - int(net.outer))
    return range(_GRID.start * factor, (_GRID.stop - 1) * factor + 1, factor)


def check_image_size(
    shape: Sequence[int],
    net: StackConfig,
    name: str = "image",
    part: str = "agent.enc.simple",
    advice: str = "",
) -> None:
    """Check that a convolutional stack takes images of a size.

    Args:
        shape: Height and width in pixels; further axes are ignored.
        net: Options of the encoder or decoder.
        name: Observation key or option that the message names.
        part: Section of `net` that the message names.
        advice: More to say.

    Raises:
        ConfigError: It does not; the message states the sizes that work.
    """
    sides = image_sides(net)
    height, width = shape[:2]
    if height in sides and width in sides:
        return
    raise ConfigError(
        f"{name} is {height}x{width} pixels, which {part} does not take "
        f"({len(net.mults)} stages, outer {str(net.outer).lower()}): expected height and width in "
        f"{sides.start}..{sides[-1]} in steps of {sides.step}. Change the image size, or "
        f"{part}.mults or {part}.outer. {advice}".rstrip()
    )


def fitting_size(obs_space: Mapping[str, Space], agent: AgentConfig) -> tuple[int, ...]:
    """The size to which the images of an environment have to be resized for the built-in networks.

    Returns:
        Height and width, close to those of the largest image and at most `_LARGEST` where that is
        possible; empty where there are no images or they fit as they are.
    """
    shapes = [space.shape[:2] for space in obs_space.values() if space.kind == "image"]
    ranges = [image_sides(net) for net in _stacks(agent).values()]
    if not shapes or not ranges:
        return ()
    sides = [side for side in ranges[0] if all(side in other for other in ranges)]
    largest = max(shapes, key=math.prod)
    if not sides or (set(shapes) == {largest} and set(largest) <= set(sides)):
        return ()
    moderate = [side for side in sides if side <= _LARGEST] or sides[:1]
    return tuple(min(moderate, key=lambda side: abs(side - given)) for given in largest)


def check_spaces(keys: Mapping[str, Space], agent: AgentConfig) -> None:
    """Check that the agent takes what an environment shows and does.

    Args:
        keys: Observation keys, and action keys where they are known, and their spaces.
        agent: Options of the agent.

    Raises:
        ConfigError: A discrete key has more than `MAX_CLASSES` classes; image keys differ in
            size, have channels in front or a size that does not work, or the decoder's channels
            are not divisible by its blocks.
    """
    for key, space in keys.items():
        if space.kind == "discrete" and space.width > MAX_CLASSES:
            raise ConfigError(
                f"{key} has {space.width:,} classes, of which every step would become a vector of "
                f"as many numbers: expected at most {MAX_CLASSES:,}. Declare it as several digits, "
                "such as MultiDiscrete([1000, 1000]) for a million, or, where near numbers mean "
                "similar things, as Box."
            )
    images = {key: space.shape for key, space in keys.items() if space.kind == "image"}
    sizes = {key: shape[:2] for key, shape in images.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{key} {size[0]}x{size[1]}" for key, size in sorted(sizes.items()))
        raise ConfigError(
            f"Image observations must have one size to share the convolutions, got {listed}. "
            f"{_RESIZE}"
        )
    for key, shape in images.items():
        if shape[0] in (1, 3, 4) and shape[2] > 4:
            raise ConfigError(
                f"Observation {key} has the shape {shape}: expected height x width x channels. "
                "Move the channels to the end."
            )
        for part, net in _stacks(agent).items():
            check_image_size(shape, net, f"Observation {key}", part, _RESIZE)
    dec = agent.dec.simple
    channels, decoded = dec.depth * dec.mults[-1], "reconstruction" in agent.objectives
    if images and decoded and dec.bspace and channels % dec.bspace:
        raise ConfigError(
            f"agent.dec.simple.depth = {dec.depth} times the last of agent.dec.simple.mults = "
            f"{dec.mults[-1]} must be divisible by agent.dec.simple.bspace = {dec.bspace}, "
            f"got {channels} channels."
        )


def _replay(config: Config) -> Iterator[str]:
    replay = config.replay
    length = config.consec_train * config.batch_length + config.replay_context
    if replay.size < config.batch_size * length:
        yield (
            f"replay.size = {replay.size} cannot hold one batch: expected at least batch_size "
            f"{config.batch_size} * (consec_train {config.consec_train} * batch_length "
            f"{config.batch_length} + replay_context {config.replay_context}) = "
            f"{config.batch_size * length}. Raise replay.size or lower batch_size or batch_length."
        )
    reported = config.consec_report * config.report_length + config.replay_context
    # Every environment has an open chunk, and every sequence of a batch wants other steps.
    least = max(config.batch_size, config.run.eval_envs) * (reported + 1)
    if config.script == "train_eval" and 0 < replay.eval_size < least:
        yield (
            f"replay.eval_size = {replay.eval_size} cannot hold one batch of a report: expected 0 "
            f"for none, or at least the larger of batch_size {config.batch_size} and run.eval_envs "
            f"{config.run.eval_envs}, times report_length and one step more = {least}."
        )
    total = sum(replay.fracs.model_dump().values())
    if not math.isclose(total, 1.0, abs_tol=1e-6):
        yield (
            f"replay.fracs.uniform = {replay.fracs.uniform}, replay.fracs.priority = "
            f"{replay.fracs.priority} and replay.fracs.recency = {replay.fracs.recency} must sum "
            f"to 1, got {total:g}."
        )
    if replay.selector != "fracs" and replay.fracs != FractionsConfig():
        yield (
            f"replay.fracs are the shares of the built-in selectors, but replay.selector is "
            f"{replay.selector!r}: leave them out, or mix selectors in that class."
        )
    losses = replay.fracs.priority > 0 and replay.priosignal == "model"
    if losses and config.jax.compute_dtype == "float16":
        yield (
            f"replay.fracs.priority = {replay.fracs.priority} does not work with "
            "jax.compute_dtype = float16: float16 needs gradient scaling, whose overflows and "
            "skipped updates leave artifacts in the losses that serve as priorities. "
            "Use bfloat16 or float32, or replay.fracs.priority 0."
        )


def _batches(config: Config) -> Iterator[str]:
    trained = config.consec_train * config.batch_length
    reported = config.consec_report * config.report_length
    if config.agent.report and config.run.report_every and reported > trained:
        yield (
            f"report_length = {config.report_length} times consec_report = {config.consec_report} "
            f"must not exceed the {trained} steps (consec_train * batch_length) of the sequences "
            f"in replay. Lower report_length, or switch reports off with run.report_every 0."
        )
    agent = config.agent
    if agent.imag_last > config.batch_length:
        yield (
            f"agent.imag_last = {agent.imag_last} must not exceed batch_length = "
            f"{config.batch_length}; 0 means all steps."
        )
    if agent.imag_last == 1 and agent.repval_loss:
        yield (
            "agent.imag_last = 1 leaves no step for the replay value loss, which needs a next "
            "step: expected 0, 2 or more, or agent.repval_loss false."
        )


def _model(config: Config) -> Iterator[str]:
    agent = config.agent
    deter, divisors = agent.dyn.deter, {"agent.dyn.blocks": agent.dyn.blocks}
    if "reconstruction" in agent.objectives:
        divisors["agent.dec.simple.bspace"] = agent.dec.simple.bspace
    for key, blocks in divisors.items():
        if blocks and deter % blocks:
            below = deter // blocks * blocks
            near = f"{below} or {below + blocks}" if below else f"{blocks}"
            yield (
                f"agent.dyn.deter = {deter} must be divisible by {key} = {blocks}, "
                f"for example {near}."
            )
    if agent.policy.minstd > agent.policy.maxstd:
        yield (
            f"agent.policy.minstd = {agent.policy.minstd} must not exceed agent.policy.maxstd = "
            f"{agent.policy.maxstd}."
        )
    if agent.enc.extra and agent.enc.typ == "simple":
        yield (
            f"agent.enc.extra = {agent.enc.extra} is for an encoder of your own, but "
            "agent.enc.typ is 'simple', whose options are in agent.enc.simple."
        )
    own = [name.partition(":")[2] for name in agent.objectives if ":" in name]
    for name, keywords in agent.extra.items():
        if name not in own or not isinstance(keywords, dict):
            yield (
                f"agent.extra = {agent.extra}: expected keyword arguments by the names of your own "
                f"functions in agent.objectives, which are {', '.join(own) or 'none'}."
            )
            return


def _images(config: Config) -> Iterator[str]:
    dmc = config.env.dmc
    if config.suite == "dmc" and not (dmc.image or dmc.proprio):
        yield "env.dmc.image = false and env.dmc.proprio = false leave nothing to observe."
    suite = getattr(config.env, config.suite, None)
    size = getattr(suite, "size", ())
    if not size or not getattr(suite, "image", True):
        return
    for part, net in _stacks(config.agent).items():
        try:
            check_image_size(size, net, f"env.{config.suite}.size", part)
        except ConfigError as error:
            yield str(error)


def _stacks(agent: AgentConfig) -> dict[str, StackConfig]:
    """The built-in convolutional stacks that the agent uses; an own encoder checks itself."""
    found: dict[str, StackConfig] = {}
    if agent.enc.typ == "simple":
        found["agent.enc.simple"] = agent.enc.simple
    if "reconstruction" in agent.objectives:
        found["agent.dec.simple"] = agent.dec.simple
    return found


def _training(config: Config) -> Iterator[str]:
    opt = config.agent.opt
    if opt.schedule != "const" and opt.anneal <= opt.warmup:
        yield (
            f"agent.opt.schedule = {opt.schedule} needs agent.opt.anneal > agent.opt.warmup = "
            f"{opt.warmup} updates, got {opt.anneal}."
        )
    if opt.nesterov and not opt.momentum:
        yield "agent.opt.nesterov = true needs agent.opt.momentum true, got false."
    for name in ("retnorm", "valnorm", "advnorm"):
        norm: NormConfig = getattr(config.agent, name)
        if norm.impl == "perc" and norm.perclo >= norm.perchi:
            yield (
                f"agent.{name}.perclo = {norm.perclo} must be below agent.{name}.perchi = "
                f"{norm.perchi}."
            )


def _parallel(config: Config) -> Iterator[str]:
    if config.script == "parallel" and config.random_agent:
        yield "script = parallel acts with an agent: expected random_agent false, got true."
    # In files they may wait for another script; who gives them now expects something of them.
    given = [k for k, x in config.sources.items() if x.startswith(("flag", "overrides"))]
    actors = [key for key in given if key.startswith("ray.")]
    if actors and config.script != "parallel":
        yield f"{_are(actors)} for script parallel, got {config.script}: add --configs parallel."
    served = [key for key in given if key.startswith("ray.inference_")]
    if served and config.script == "parallel" and config.ray.inference != "server":
        yield f"{_are(served)} for ray.inference server, got {config.ray.inference}."


def _are(keys: Sequence[str]) -> str:
    return f"{' and '.join(keys)} {'is' if len(keys) == 1 else 'are'}"


def _processes(config: Config) -> Iterator[str]:
    told = "jax.processes" in config.sources or config.jax.coordinator == "slurm"
    if config.jax.coordinator and not told:
        yield (
            f"jax.coordinator = {config.jax.coordinator} needs jax.processes N, the number of all "
            "processes, or this one would train alone; leave jax.coordinator out for one process."
        )
    if config.jax.coordinator and (
        config.random_agent or config.script in ("eval_only", "parallel")
    ):
        what = "random_agent" if config.random_agent else f"script {config.script}"
        yield (
            f"jax.coordinator = {config.jax.coordinator} is for scripts train and train_eval, "
            f"got {what}."
        )


def _with_sources(problem: str, config: Config) -> str:
    sources = config.sources
    words = dict.fromkeys(re.findall(r"[a-z_0-9]+(?:\.[a-z_0-9]+)*", problem))
    known = [f"{key} from {sources[key]}" for key in words if key in sources]
    return f"{problem} ({'; '.join(known)})" if known else problem
