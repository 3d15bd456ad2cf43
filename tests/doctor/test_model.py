"""What the doctor says about literal predictions."""

import numpy as np
import pytest

from reverie.doctor import model
from reverie.doctor.replayed import Predictions

POINTS, HORIZONS = 160, (1, 4, 16)


@pytest.fixture
def healthy():
    """Predictions with a tenth of the error of those with shuffled actions; no episode ends."""
    rng = np.random.default_rng(0)
    shape = (len(HORIZONS), POINTS)
    true = {
        "obs": rng.normal(size=(*shape, 3)),
        "reward": rng.normal(size=(*shape, 1)),
        "end": np.zeros((*shape, 1)),
    }
    noise = {key: rng.normal(size=x.shape) for key, x in true.items()}
    pred = {key: x + 0.1 * noise[key] for key, x in true.items()} | {"end": true["end"] + 0.001}
    rows = {key: (x.reshape(-1, x.shape[-1]), pred[key].reshape(-1, x.shape[-1]))
            for key, x in true.items()}  # fmt: skip
    returns = rng.normal(size=400) + 5
    flags = {name: np.zeros((32, 48), bool) for name in ("is_first", "is_last", "is_terminal")}
    return Predictions(
        HORIZONS,
        np.ones(shape, bool),
        {key: rng.normal(size=x.shape[1:]) for key, x in true.items()},
        true,
        pred,
        {key: x + noise[key] for key, x in true.items()},
        np.ones(shape, bool),
        rows,
        returns + 0.1 * rng.normal(size=400),
        returns,
        flags,
    )


def levels(found):
    return {line.about: line.level for line in model.lines(found)}


def test_a_healthy_model_has_no_other_line(healthy):
    found = levels(healthy)
    assert set(found.values()) == {"healthy"}
    assert list(found) == [
        "episode ends", "obs seen", "obs ahead", "actions", "reward", "ends", "value of replay",
    ]  # fmt: skip


def with_ends(found, happened, foreseen):
    """Every so many steps an episode terminates, and the model foresees a share of that."""
    true = np.zeros_like(found.true["end"])
    true[:, :: round(1 / happened)] = 1
    pred = np.full_like(true, foreseen)
    return found._replace(true=found.true | {"end": true}, pred=found.pred | {"end": pred})


def observation(found, wrong):
    true, _ = found.seen["obs"]
    return found._replace(seen=found.seen | {"obs": (true, np.full_like(true, wrong))})


SICK = {
    "ignores actions": ("actions", "sick", lambda x: x._replace(shuffled=x.pred)),
    "ends ignored": ("ends", "sick", lambda x: with_ends(x, 0.1, 0.0)),
    "ends too often": ("ends", "warning", lambda x: with_ends(x, 0.1, 0.2)),
    "nothing seen": ("obs seen", "sick", lambda x: observation(x, 0.0)),
    "value off": ("value of replay", "sick", lambda x: x._replace(value=x.returns + 3)),
    "value unrelated": ("value of replay", "warning", lambda x: x._replace(value=x.value[::-1])),
    "reward imagined": (
        "reward",
        "sick",
        lambda x: x._replace(pred=x.pred | {"reward": x.pred["reward"] + 2}),
    ),
    "ahead unknown": (
        "obs ahead",
        "warning",
        lambda x: x._replace(pred=x.pred | {"obs": x.shuffled["obs"] * 3}),
    ),
    "episodes end at once": (
        "episode ends",
        "warning",
        lambda x: x._replace(flags=x.flags | {"is_last": ~x.flags["is_last"]}),
    ),
}


@pytest.mark.parametrize("case", SICK)
def test_what_is_sick_is_named(healthy, case):
    about, expected, change = SICK[case]
    assert levels(change(healthy))[about] == expected


def test_actions_that_never_differ_tell_nothing(healthy):
    found = healthy._replace(moved=np.zeros_like(healthy.moved))
    assert levels(found)["actions"] == "unknown"


def test_actions_that_differ_where_no_episode_goes_on_tell_nothing(healthy):
    """As in episodes of six steps, whose observations follow from nothing that was done."""
    first = np.arange(len(HORIZONS))[:, None] == 0
    found = healthy._replace(valid=healthy.valid & first, moved=healthy.moved & ~first)
    assert levels(found)["actions"] == "unknown"


def test_what_never_changes_tells_nothing(healthy):
    true = np.zeros((400, 3))
    found = healthy._replace(seen=healthy.seen | {"obs": (true, true)})
    assert levels(found)["obs seen"] == "unknown"


def test_short_episodes_are_looked_at_one_step_ahead_alone(healthy):
    valid = np.stack([np.ones(POINTS, bool), np.arange(POINTS) < 40, np.zeros(POINTS, bool)])
    pred = healthy.pred | {"end": np.stack([healthy.pred["end"][0], *[np.ones((POINTS, 1))] * 2])}
    found = levels(healthy._replace(valid=valid, pred=pred))
    assert found["ends"] == "healthy"
    assert found["obs ahead"] == "healthy"
