"""What the doctor says about literal metrics."""

import json

import pytest

from reverie.doctor import records
from reverie.doctor.line import as_json, as_text, exit_code


def level(found, about):
    return {line.about: line.level for line in records.lines(found)}[about]


def test_a_healthy_run_has_no_other_line(make_records):
    lines = list(records.lines(make_records()))
    assert {line.level for line in lines} == {"healthy"}
    assert len(lines) == 12
    assert not any(line.advice for line in lines)
    assert exit_code(lines) == 0


SCORES = [20.0, 25.0, 30.0] * 20

SICK = {
    "value off": ("value", "sick", {"train/adv": 0.8}, None),
    "value lags": ("value", "warning", {"train/adv": -0.4}, None),
    "collapsed posterior": ("KL", "warning", {"train/loss/dyn": 1.0, "train/rep_ent": 20.2}, None),
    "KL far above": ("KL", "warning", {"train/loss/dyn": 20.0}, None),
    "collapsed policy": ("policy action", "sick", {"train/rand/action": 0.001}, SCORES),
    "narrow policy": ("policy action", "warning", {"train/rand/action": 0.05}, SCORES),
    "random policy": ("policy action", "warning", {"train/rand/action": 0.99}, SCORES),
    "reward unknown": ("loss rew", "sick", {"train/loss/rew": 5.5}, None),
    "ends unknown": ("loss con", "sick", {"train/loss/con": 0.69}, None),
    "value loss high": ("loss value", "warning", {"train/loss/value": 3.0}, None),
    "nothing moves": ("update size", "sick", {"train/opt/update_rms": 0.0}, None),
    "too large steps": ("update size", "sick", {"train/opt/update_rms": 0.1}, None),
    "environments slow": ("waiting", "warning", {"time/environment": 0.6}, None),
    "restarts": ("restarts of environments", "warning", {"env/restarts": 3}, None),
    "no gain": ("score", "warning", {}, SCORES),
    "one score": ("score", "warning", {}, [0.0] * 60),
    "fell back": ("score", "warning", {}, [*range(100), *[10] * 20]),
    "fell back lately": ("score", "warning", {}, [*[0] * 900, *[1] * 3000, *[0] * 150]),
    "certain, and fell back": (
        "policy action",
        "warning",
        {"train/rand/action": 0.05},
        [*range(100), *[10] * 20],
    ),
    "a NaN": ("numbers", "warning", {"train/loss/rec/obs": float("nan")}, None),
}


@pytest.mark.parametrize("case", SICK)
def test_what_is_sick_is_named(make_records, case):
    about, expected, changes, scores = SICK[case]
    found = make_records(changes, scores=scores)
    assert level(found, about) == expected
    lines = list(records.lines(found))
    assert exit_code(lines) == {"warning": 1, "sick": 2}[expected]
    assert all(line.advice for line in lines if line.level == expected)


def test_a_certain_policy_is_no_sickness_once_the_score_has_risen(make_records):
    assert level(make_records({"train/rand/action": 0.001}), "policy action") == "healthy"


@pytest.mark.parametrize(("entropy", "expected"), [(1.41, "warning"), (-0.8, "warning")])
def test_entropy_of_continuous_actions_lies_between_its_bounds(make_records, entropy, expected):
    changes = {"train/ent/action": entropy, "train/rand/action": None}
    found = make_records(changes, scores=SCORES, kind="continuous")
    assert level(found, "policy action") == expected


def test_another_train_ratio_than_asked(make_records):
    assert level(make_records(words=["--run.train_ratio", "512"]), "train ratio") == "warning"


def test_gradients_that_jump(make_records):
    found = make_records()
    found.metrics[-2]["train/opt/grad_norm"] = 1e4
    assert level(found, "gradients") == "warning"


def test_early_in_a_run_nothing_is_judged(make_records):
    changes = {"train/loss/rew": 5.5, "train/loss/con": 0.69, "train/adv": 0.9}
    lines = list(records.lines(make_records(changes, scores=[1.0], updates=150)))
    assert exit_code(lines) == 0
    unknown = {line.about for line in lines if line.level == "unknown"}
    assert unknown == {
        "score", "loss rew", "loss con", "loss value", "loss repval", "KL", "value",
        "policy action",
    }  # fmt: skip


def test_a_run_without_metrics_says_so(make_records):
    found = make_records()
    empty = records.Records([], [], found.config)
    assert [line.level for line in records.lines(empty)] == ["unknown", "unknown"]


def test_lines_as_text_and_as_json(make_records):
    lines = list(records.lines(make_records({"train/adv": 0.8})))
    text = as_text(lines)
    assert "sick     value          imagined returns are +0.8 of their range off" in text
    assert "-> The value does not follow the returns." in text
    assert text.endswith("Something is sick. (1 sick, 11 healthy)")
    content = json.loads(as_json(lines))
    assert (content["verdict"], content["exit_code"]) == ("sick", 2)
    assert {line["about"] for line in content["lines"]} == {line.about for line in lines}
