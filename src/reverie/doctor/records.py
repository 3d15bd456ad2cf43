"""What metrics.jsonl and scores.jsonl tell about a run."""

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from reverie.config.schema import Config
from reverie.doctor.line import Line, graded
from reverie.spaces import Space
from reverie.track.sinks.jsonl import METRICS, SCORES, RecordsError, read_jsonl

SETTLED = 1000
"""Updates after the warm-up from which the value and the losses are expected to have settled."""

BANDS = {
    "rew": ((100, 3.2), (300, 1.7), (1000, 0.81), (3000, 0.67)),
    "con": ((100, 0.47), (300, 0.28), (1000, 0.28)),
    "value": ((100, 5.5), (300, 3.0), (1000, 1.5)),
    "repval": ((100, 7.9), (300, 4.6), (1000, 3.0)),
}
"""Loss -> updates after the warm-up, and the highest mean loss in nats from there on that runs
which learnt have had: CartPole, Acrobot, Pendulum, Sliders and Catch with the presets quickstart
and small, and the learning test. They compare between tasks, because what is predicted are
distributions over the same bins; reconstruction depends on the observations and is not here."""


@dataclasses.dataclass(frozen=True)
class Records:
    """The records of a run.

    Args:
        metrics: Lines of metrics.jsonl.
        scores: Scores of training episodes, in their order.
        config: Configuration of the run.
        actions: Action keys and their spaces.
        faults: What is wrong with the files themselves.
    """

    metrics: Sequence[dict[str, Any]]
    scores: Sequence[float]
    config: Config
    actions: Mapping[str, Space] = dataclasses.field(default_factory=dict)
    faults: Sequence[Line] = ()

    def series(self, key: str) -> np.ndarray:
        """All finite values of a metric, in their order."""
        values = [row[key] for row in self.metrics if key in row]
        return np.array([x for x in values if math.isfinite(x)], np.float64)

    def newest(self, key: str) -> float:
        """Mean of the newest fifth of the values of a metric, at least three; NaN without any."""
        values = self.series(key)
        return float(values[-max(3, len(values) // 5) :].mean()) if len(values) else math.nan

    @property
    def updates(self) -> int:
        """Updates after the warm-up of the learning rate."""
        made = self.series("train/opt/updates")
        return int(max(made.max(initial=0) - self.config.agent.opt.warmup, 0))


def read_records(folder: pathlib.Path, config: Config, actions: Mapping[str, Space]) -> Records:
    """Reads the records of a run, which may still be writing them.

    Files that are missing or damaged are empty, and told.
    """
    found, faults = [], []
    for name in (METRICS, SCORES):
        rows = []
        try:
            rows = read_jsonl(folder / name)
        except FileNotFoundError:
            wanted = "jsonl in logger.outputs writes it, from the first log interval on"
            faults.append(Line(name, "unknown", f"it does not exist: {wanted}"))
        except RecordsError as error:
            advice = "Without it little can be told. A disk that was full or broken does this."
            faults.append(Line(name, "sick", str(error), advice))
        found.append(rows)
    metrics, scores = found
    episodes = [x["episode/score"] for x in scores if "episode/score" in x]
    return Records(metrics, episodes, config, actions, faults)


def lines(records: Records) -> Iterator[Line]:
    """Everything that the records tell."""
    yield from records.faults
    yield _progress(records)
    if not len(records.series("train/opt/updates")):
        yield Line("updates", "unknown", "no metrics of an update were written yet")
    else:
        yield from itertools.chain.from_iterable(check(records) for check in _OF_UPDATES)
    yield from _speed(records)
    yield from _trouble(records)


def _progress(records: Records) -> Line:
    scores = np.array(records.scores)
    if len(scores) < 10:
        return Line("score", "unknown", f"only {len(scores)} episodes have ended, 10 are needed")
    if np.ptp(scores) == 0:
        return graded(
            "score",
            f"all {len(scores)} episodes had the score {scores[0]:.4g}",
            warning=True,
            advice="Nothing distinguishes good from bad actions yet: check that the reward can be "
            "reached by chance (reverie doctor --env TASK), or make it denser.",
        )
    first, last, best = _levels(scores)
    says = f"from {first:.4g} at first to {last:.4g} now, best {best:.4g} ({len(scores)} episodes)"
    if records.updates < SETTLED:
        return Line(
            "score", "unknown", f"{says}; judged from {SETTLED} updates after the warm-up on"
        )
    return graded(
        "score",
        says,
        warning=_stuck(first, last, best),
        advice="It does not get better, or fell back. Look at the lines below first; if they are "
        "healthy, train longer or with a higher run.train_ratio, and try other seeds.",
    )


def _levels(scores: np.ndarray) -> tuple[float, float, float]:
    """Mean score of the first, newest and best tenth of the episodes, of a hundred at most."""
    size = min(max(3, len(scores) // 10), 100)
    means = np.convolve(scores, np.ones(size) / size, "valid")
    return float(means[0]), float(means[-1]), float(means.max())


def _stuck(first: float, last: float, best: float) -> bool:
    """Whether the score has not risen, or lost more than half of what it had."""
    return last <= first or best - last > 0.5 * (best - first)


def _losses(records: Records) -> Iterator[Line]:
    done = records.updates
    for name, band in BANDS.items():
        loss = records.newest(f"train/loss/{name}")
        bound = max((x for x in band if x[0] <= done), default=None)
        if math.isnan(loss):
            continue
        about = f"loss {name}"
        if bound is None:
            yield Line(about, "unknown", f"{loss:.3g} nats, {done} updates after the warm-up")
            continue
        nothing = math.log(2 if name == "con" else 255)
        yield graded(
            about,
            f"{loss:.3g} nats; runs that learnt had at most {bound[1]:g} after {bound[0]} updates",
            warning=loss > 1.5 * bound[1],
            sick=done >= SETTLED and name in ("rew", "con") and loss > 0.9 * nothing,
            advice="The model does not predict it. If reward or ends are random, that is as good "
            "as it gets; else train longer, or with a larger model or another agent.opt.lr.",
        )


def _latents(records: Records) -> Iterator[Line]:
    config = records.config.agent.dyn
    kl, floor = records.newest("train/loss/dyn"), config.free_nats
    known = records.newest("train/dyn_ent") - records.newest("train/rep_ent")
    most = config.stoch * math.log(config.classes)
    if math.isnan(kl + known) or records.updates < 300:
        yield Line("KL", "unknown", "too few updates to tell")
        return
    collapsed = kl < 1.001 * floor and abs(known) < 0.1
    yield graded(
        "KL",
        f"{kl:.3g} nats (free nats {floor:g}, at most {most:.3g}); seeing an observation makes the "
        f"latents {known:.2g} nats more certain",
        warning=collapsed or kl > max(0.4 * most, 2 * floor),
        advice=(
            "The latents hold nothing that the prior did not know (posterior collapse). Unless the "
            "task is fully predictable, raise agent.loss_scales.rec or lower agent.dyn.free_nats."
            if collapsed
            else "The prior foresees little of what happens: train longer; check that observations "
            "are not noise; try a larger model."
        ),
    )


def _policy(records: Records) -> Iterator[Line]:
    enough = len(records.scores) >= 10 and records.updates >= SETTLED
    stuck = enough and _stuck(*_levels(np.array(records.scores)))
    for name, space in records.actions.items():
        share = records.newest(f"train/rand/{name}")
        if space.kind != "discrete":
            options = records.config.agent.policy
            least, most = (space.size * _normal(x) for x in (options.minstd, options.maxstd))
            share = (records.newest(f"train/ent/{name}") - least) / max(most - least, 1e-9)
        if math.isnan(share):
            continue
        if not enough:
            yield Line(f"policy {name}", "unknown", f"{100 * share:.3g} % of the largest entropy")
            continue
        yield graded(
            f"policy {name}",
            f"{100 * share:.3g} % of the largest entropy",
            warning=stuck and (share < 0.1 or share > 0.95),
            sick=stuck and share < 0.02,
            advice=(
                "It tries next to nothing any more, and what it does is not good. Raise "
                "agent.imag_loss.actent, and check the scale of rewards."
                if share < 0.5
                else "It is still random: nothing tells actions apart. See the lines on actions, "
                "reward and value."
            ),
        )


def _normal(stddev: float) -> float:
    """Entropy of a normal distribution in nats."""
    return math.log(stddev) + 0.5 * math.log(2 * math.pi * math.e)


def _value(records: Records) -> Iterator[Line]:
    bias, spread = records.newest("train/adv"), records.newest("train/adv_std")
    if math.isnan(bias) or records.updates < SETTLED:
        yield Line("value", "unknown", f"judged from {SETTLED} updates after the warm-up on")
        return
    yield graded(
        "value",
        f"imagined returns are {bias:+.2g} of their range off the value (spread {spread:.2g})",
        warning=abs(bias) > 0.35,
        sick=abs(bias) > 0.6,
        advice="The value does not follow the returns. It catches up early in a run and after a "
        "jump of the score; else check agent.slowvalue.rate, agent.horizon and agent.opt.lr.",
    )


def _optimizer(records: Records) -> Iterator[Line]:
    moved = records.newest("train/opt/update_rms") / records.newest("train/opt/param_rms")
    norms = records.series("train/opt/grad_norm")[-200:]
    if math.isnan(moved) or not records.updates:
        return
    yield graded(
        "update size",
        f"an update moves parameters by {moved:.2g} of their size",
        warning=not 1e-6 < moved < 1e-2,
        sick=moved == 0 or moved > 0.1,
        advice=f"agent.opt.lr is {records.config.agent.opt.lr:g}: "
        + ("raise it." if moved < 1e-3 else "lower it."),
    )
    newest = norms[len(norms) // 2 :]
    if len(newest) >= 5:
        ratio = newest.max() / max(np.median(newest), 1e-30)
        yield graded(
            "gradients",
            f"norm {np.median(newest):.3g}, the largest lately {ratio:.2g} times that",
            warning=ratio > 100,
            advice="Gradients jump. Look for outliers in rewards and observations; lower "
            "agent.opt.lr or agent.opt.agc.",
        )


_OF_UPDATES = (_losses, _latents, _policy, _value, _optimizer)


def _speed(records: Records) -> Iterator[Line]:
    asked, per_sample = records.config.run.train_ratio, records.config.batch_length
    samples, added = records.series("replay/samples"), records.series("replay/inserts")
    half = len(added) // 2
    # From the middle on, so that the wait for the first batch does not count.
    steps = added[-1] - added[half] if half and len(samples) == len(added) else 0
    if steps > 0 and asked:
        done = (samples[-1] - samples[half]) * per_sample / steps
        yield graded(
            "train ratio",
            f"{done:.4g} replayed steps per step, {asked:g} asked",
            warning=not 0.8 < done / asked < 1.25,
            advice="The run trains another amount than asked; was run.train_ratio changed lately?",
        )
    waiting = records.newest("time/environment")
    # Where nothing is learnt, there is nothing but environments to wait for.
    if not math.isnan(waiting) and len(records.series("train/opt/updates")):
        yield graded(
            "waiting",
            f"{100 * waiting:.2g} % of the time goes into waiting for environments",
            warning=waiting > 0.3,
            advice="Try --run.env_backend async, more run.envs, or a faster environment.",
        )


def _trouble(records: Records) -> Iterator[Line]:
    for key, about, advice in (
        ("env/restarts", "restarts of environments", "See the messages of the run for the cause."),
        ("replay/damaged_chunks", "damaged files of replay", "Check the disk."),
    ):
        count = records.series(key).max(initial=0)
        if count:
            yield graded(about, f"{count:.0f}", warning=True, advice=advice)
    # What was infinite comes back from the file as NaN too, and only NaN is not itself.
    lost = sum(x != x for row in records.metrics for x in row.values())
    if lost:
        yield graded(
            "numbers",
            f"{lost} metrics were NaN or infinite",
            warning=True,
            advice="In float16 single ones are normal. Else try --run.debug true.",
        )
