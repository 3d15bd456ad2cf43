"""Which parameters of a checkpoint a new run takes."""

import numpy as np
import pytest

from reverie.learner.checkpoints import transfer
from reverie.learner.checkpoints.checkpoint import CheckpointError

STATE = "states/actor_critic"
SAVED = {
    "params/enc/kernel": np.ones((2, 3), np.float32),
    "params/dyn/kernel": np.ones((4,), np.float32),
    "params/heads/val/kernel": np.ones((5,), np.float32),
    "params/heads/val/bias": np.ones((1,), np.float32),
    f"{STATE}/slow/kernel": np.ones((5,), np.float32),
    f"{STATE}/slow/bias": np.ones((1,), np.float32),
    f"{STATE}/norms/ret/first": np.ones((), np.float32),
    "opt/nu": np.ones((10,), np.float32),
}


def test_the_optimizer_is_never_taken():
    chosen = transfer.select(SAVED, SAVED, ".*")
    assert sorted(chosen.arrays) == sorted(set(SAVED) - {"opt/nu"})
    assert (chosen.skipped, chosen.fresh) == ((), ())
    assert chosen.report() == [
        "Loaded 4 parameters (16 numbers): dyn, enc, heads/val.",
        "Loaded the slow value and the normalizers with the value head.",
        "The optimizer and the counts start anew.",
    ]


def test_what_is_skipped_and_left_fresh_is_reported():
    agent = {**SAVED, "params/enc/bias": np.zeros(3), "params/heads/pol/kernel": np.zeros(3)}
    chosen = transfer.select(SAVED, agent, "params/(enc|dyn)/")
    assert sorted(chosen.arrays) == ["params/dyn/kernel", "params/enc/kernel"]
    assert chosen.report() == [
        "Loaded 2 parameters (10 numbers): dyn, enc (1 of 2).",
        "Skipped 2 saved ones: heads/val.",
        "Left 4 as initialized: enc (1 of 2), heads/pol, heads/val.",
        "The optimizer and the counts start anew.",
    ]
    assert set(chosen.fresh) == {
        "params/enc/bias",
        "params/heads/pol/kernel",
        "params/heads/val/kernel",
        "params/heads/val/bias",
    }


def test_the_slow_copy_follows_each_parameter_of_the_value_and_normalizers_all_of_them():
    chosen = transfer.select(SAVED, SAVED, "params/heads/val/bias")
    assert sorted(chosen.arrays) == ["params/heads/val/bias", f"{STATE}/slow/bias"]
    chosen = transfer.select(SAVED, SAVED, "params/heads/val/")
    assert f"{STATE}/norms/ret/first" in chosen.arrays


@pytest.mark.parametrize("expression", ["enc", "opt/", "states/", "slow/", "params/other"])
def test_an_expression_without_a_parameter(expression):
    message = r"matches none of the checkpoint's 4 parameters, which are dyn, enc, heads/val"
    with pytest.raises(CheckpointError, match=message):
        transfer.select(SAVED, SAVED, expression)


def test_an_expression_that_is_none():
    with pytest.raises(CheckpointError, match="not a regular expression"):
        transfer.select(SAVED, SAVED, "(")


def test_every_parameter_that_does_not_fit_is_named_and_can_be_left_out():
    agent = {k: x for k, x in SAVED.items() if k != "params/heads/val/bias"}
    agent["params/enc/kernel"] = np.zeros((2, 7), np.float32)
    with pytest.raises(transfer.MismatchedTransferError) as caught:
        transfer.select(SAVED, agent, ".*")
    message = str(caught.value)
    assert "2 parameters" in message
    assert "params/enc/kernel is (2, 3) there, (2, 7) here" in message
    assert "params/heads/val/bias is (1,) there, unknown here" in message
    chosen = transfer.select(SAVED, agent, caught.value.without())
    assert sorted(chosen.arrays) == ["params/dyn/kernel"]
