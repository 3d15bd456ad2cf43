"""What the predictions of an agent on its replay tell."""

from collections.abc import Iterator

import numpy as np

from reverie.agent.predictions.ahead import FLAT, relative_errors
from reverie.doctor.line import Line, graded
from reverie.doctor.replayed import Predictions

ENOUGH = 30
"""Predictions that a number needs."""

CERTAIN, POSSIBLE = 4.0, 2.5
"""Standard errors by which an effect is told from chance, and may be chance."""


def lines(found: Predictions) -> Iterator[Line]:
    """Everything that the predictions tell."""
    yield _ends_seen(found)
    for key in found.seen:
        if key not in ("reward", "end"):
            yield from _observation(found, key)
    yield _actions(found)
    yield _reward(found)
    yield _ends(found)
    yield _value(found)


def _ends_seen(found: Predictions) -> Line:
    count = found.flags["is_last"].size
    ended, terminal = (int(found.flags[k].sum()) for k in ("is_last", "is_terminal"))
    return graded(
        "episode ends",
        f"{ended} of {count} steps end an episode, {terminal} of them by termination",
        warning=ended > count / 3,
        advice="Episodes of one or two steps teach little: does the environment end at once?",
    )


def _observation(found: Predictions, key: str) -> Iterator[Line]:
    true, pred = found.seen[key]
    spread = true.var(0).sum()
    if spread < FLAT:
        yield Line(f"{key} seen", "unknown", "it never changes in replay")
        return
    error = _squared(true, pred).mean() / spread
    yield graded(
        f"{key} seen",
        f"reconstructed with an error of {error:.2g} of its variance",
        warning=error > 0.5,
        sick=error > 0.9,
        advice="The latents do not hold what is observed: train longer, raise "
        "agent.loss_scales.rec (vec for vectors alone), take a larger model. Noise cannot be "
        "reconstructed.",
    )
    of_key = found.now[key], found.true[key], found.pred[key]
    errors = np.array(relative_errors(found.valid, *of_key, ENOUGH))
    known = np.isfinite(errors[0])
    model, last = errors[:, known]
    used = np.array(found.horizons)[known]
    if not len(used):
        yield Line(f"{key} ahead", "unknown", "episodes are too short to tell")
        return
    show = lambda values: ", ".join(f"{x:.2g}" for x in values)  # noqa: E731
    yield graded(
        f"{key} ahead",
        f"predicted {show(used)} steps ahead with errors of {show(model)} of the variance; "
        f"repeating the last value {show(last)}, predicting the mean 1",
        warning=model[0] > 1.5 * min(1.0, last[0]),
        advice="Open-loop predictions are worse than none: train longer. What is random by nature "
        "cannot be predicted.",
    )


def _actions(found: Predictions) -> Line:
    if found.moved.mean() < 0.05 or found.valid[0].sum() < ENOUGH:
        return Line("actions", "unknown", "the actions in replay hardly differ")
    best = (-np.inf, 1.0, "")
    for key, true in found.true.items():
        for row in range(len(found.horizons)):
            where = found.valid[row] & found.moved[row]
            if (
                where.sum() < ENOUGH
                or true[row][where].var(0).sum() < FLAT
                or key not in found.pred
            ):
                continue
            good = _squared(true[row][where], found.pred[key][row][where])
            bad = _squared(true[row][where], found.shuffled[key][row][where])
            sure = (bad - good).mean() / max((bad - good).std() / np.sqrt(len(good)), 1e-12)
            best = max(best, (float(sure), float(bad.mean() / max(good.mean(), 1e-12)), key))
    sure, ratio, key = best
    if not key:
        return Line("actions", "unknown", "too little changes within an episode to tell")
    return graded(
        "actions",
        f"with shuffled actions the prediction of {key} has {ratio:.3g} times the error "
        f"({sure:.2g} standard errors)",
        warning=sure < CERTAIN,
        sick=sure < POSSIBLE,
        advice="The model does not use the action. Check that actions reach the environment and "
        "matter within 16 steps, and that each is stored with its own step; then train longer.",
    )


def _reward(found: Predictions) -> Line:
    true, pred = found.seen["reward"]
    spread = float(true.std() + 0.05 * np.abs(true).mean())
    if spread < 1e-9:
        return Line("reward", "unknown", "every reward in replay is 0")
    off, ahead = 0.0, 0
    for row in _unbiased(found):
        valid = found.valid[row]
        bias = found.pred["reward"][row][valid].mean() - found.true["reward"][row][valid].mean()
        now = float(bias) / spread, found.horizons[row]
        off, ahead = max((off, ahead), now, key=lambda x: abs(x[0]))
    varies = true.var() > FLAT and np.count_nonzero(np.abs(true - np.median(true)) > 1e-6) >= 10
    missed = float(((true - pred) ** 2).mean() / true.var()) if varies else 0.0
    says = f"imagined {ahead} steps ahead it is {off:+.2g} of its spread off" if ahead else ""
    seen = f"where it is observed {100 * max(0.0, 1 - missed):.3g} % of its variance are explained"
    return graded(
        "reward",
        "; ".join(part for part in (says, seen if varies else "") if part) or "as it was",
        warning=abs(off) > 0.5 or missed > 0.8,
        sick=abs(off) > 1.5,
        advice="Imagined rewards are not those that come: the policy learns from wrong ones. Train "
        "longer, look for outliers, and check that the reward follows from what is observed.",
    )


def _ends(found: Predictions) -> Line:
    rows = _unbiased(found)
    if not rows:
        return Line("ends", "unknown", "too few predictions to tell")
    valid = found.valid[rows]
    true, pred = (x["end"][rows][..., 0][valid] for x in (found.true, found.pred))
    happened, foreseen, many = float(true.mean()), float(pred.mean()), true.sum() >= 10
    return graded(
        "ends",
        f"imagined in {100 * foreseen:.2g} % of the steps, {100 * happened:.2g} % happened",
        warning=abs(foreseen - happened) > max(0.5 * happened, 0.03),
        sick=(many and foreseen < happened / 4) or foreseen > 4 * happened + 0.1,
        advice="The continue head is wrong, so that imagination goes on after the end or stops "
        "before it. Check that the environment returns terminated only for real ends, truncated "
        "for time limits.",
    )


def _value(found: Predictions) -> Line:
    value, returns = found.value, found.returns
    spread = float(returns.std() + 0.05 * np.abs(returns).mean())
    if len(value) < ENOUGH or spread < 1e-9:
        return Line("value of replay", "unknown", "there were no returns to compare with")
    off = float((value - returns).mean()) / spread
    varies = returns.std() > 0.1 * np.abs(returns).mean()
    fit = float(np.corrcoef(value, returns)[0, 1]) if varies and value.std() > 0 else 1.0
    return graded(
        "value of replay",
        f"{off:+.2g} of the spread of observed returns off"
        + (f", correlation {fit:.2g}" if varies else ""),
        warning=abs(off) > 0.5 or fit < 0.2,
        sick=abs(off) > 1.5,
        advice="The value expects other returns than come. Early in a run it catches up; else "
        "check agent.horizon, agent.slowvalue.rate and agent.loss_scales.repval.",
    )


def _unbiased(found: Predictions) -> list[int]:
    """Rows of horizons that nearly all episodes reach, and one step ahead.

    Those that reach the others are the better ones, which the model cannot know.
    """
    shares = found.valid.mean(1)
    enough = found.valid.sum(1) >= ENOUGH
    return [row for row, share in enumerate(shares) if enough[row] and (row == 0 or share > 0.9)]


def _squared(true: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """Squared error of each row, summed over its entries."""
    return np.square(true - pred).sum(-1)
