"""The learner: asynchronous updates, the acting snapshot, random keys, NaN checks."""

import json
import threading

import jax
import numpy as np
import pytest

from reverie.learner.checkpoints.tree import MismatchError
from reverie.learner.nonfinite import NonFiniteError
from reverie.learner.updating import MetricVector


def kernel(learner):
    return learner.arrays()["params/enc/kernel"]


def test_update_lowers_the_loss(make_learner, batch):
    learner = make_learner()
    for _ in range(30):
        learner.update(batch)
    learner.synchronize()
    losses = [metrics["loss/rec"] for metrics in learner.pop_metrics()]
    assert len(losses) == 30
    assert losses[-1] < 0.5 * losses[0]
    assert learner.pop_metrics() == []


def test_a_prepared_update_is_compiled_once_and_ahead(make_learner, batch, monkeypatch):
    learner = make_learner()
    traced, train = [], learner.agent.train
    monkeypatch.setattr(
        learner.agent,
        "train",
        lambda *args: (traced.append(threading.current_thread().name), train(*args))[1],
    )
    learner.prepare("train", {key: np.zeros_like(x) for key, x in batch.items()})
    learner.update(batch)
    learner.update(batch)
    assert len(traced) == 1
    assert traced[0] != threading.current_thread().name


def test_a_prepared_batch_of_another_size_is_compiled_anew(make_learner, batch):
    learner, other = make_learner(), make_learner()
    learner.prepare("train", {key: x[:2] for key, x in batch.items()})
    learner.update(batch)
    other.update(batch)
    np.testing.assert_array_equal(kernel(learner), kernel(other))


def test_an_error_of_the_compilation_comes_out_of_train(make_learner, batch, monkeypatch):
    learner = make_learner()
    monkeypatch.setattr(learner.agent, "train", lambda *args: {}["missing"])
    learner.prepare("train", batch)
    with pytest.raises(KeyError, match="missing"):
        learner.update(batch)


def test_metrics_come_one_update_late(make_learner, batch):
    learner = make_learner()
    learner.update(batch)
    assert learner.pop_metrics() == []
    learner.update(batch)
    (metrics,) = learner.pop_metrics()
    assert sorted(metrics) == ["draw", "loss/rec", "opt/grad_norm"]
    assert all(type(value) is float for value in metrics.values())


def test_training_carry_goes_from_update_to_update(make_learner, batch):
    learner = make_learner()
    learner.update(batch)
    outputs = learner.update(batch)
    np.testing.assert_allclose(outputs.latents["latent/deter"], batch["obs"][:, 1:] + 1, rtol=1e-6)


def test_acting_lags_one_update_behind_the_last_issued(make_learner, make_policy, batch, obs):
    learner, reference, policy = make_learner(), make_learner(), make_policy()
    after = [kernel(reference)]
    for issued in range(1, 4):
        learner.update(batch)
        reference.update(batch)
        after.append(kernel(reference))
        params = learner.acting()
        assert params.version == issued - 1
        assert learner.acting() is params
        policy.set_params(params)
        _, _, latents = policy.act(policy.init(2), obs)
        np.testing.assert_allclose(latents["latent/deter"], after[issued - 1][:2], rtol=1e-5)


def test_the_newest_parameters_can_be_had_without_the_lag(make_learner, make_policy, batch, obs):
    learner = make_learner()
    learner.update(batch)
    policy = make_policy(learner.acting(newest=True))
    assert policy.version == 1
    _, _, latents = policy.act(policy.init(2), obs)
    np.testing.assert_allclose(latents["latent/deter"], kernel(learner)[:2], rtol=1e-5)


def test_equal_seeds_give_equal_runs_and_other_seeds_other_ones(
    make_learner, make_policy, batch, obs
):
    def run(seed):
        learner, policy = make_learner(seed), make_policy(seed=seed)
        actions = []
        for _ in range(3):
            learner.update(batch)
            policy.set_params(learner.acting())
            actions.append(policy.act(policy.init(2), obs)[1]["action"])
        return np.stack(actions), kernel(learner)

    first, second, other = run(0), run(0), run(1)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert not np.allclose(first[0], other[0])


def test_restored_learner_goes_on_with_the_same_keys_and_arrays(make_learner, batch):
    learner = make_learner()
    learner.update(batch)
    restored = make_learner(seed=0)
    restored.load(learner.arrays(), {**learner.counters, "calls_of_a_policy": 3})
    assert restored.updates == restored.acting().version == 1
    for one in (learner, restored):
        one.pop_metrics()
        one.update(batch)
        one.synchronize()
    assert learner.pop_metrics() == restored.pop_metrics()
    newest = (one.acting(newest=True).leaves for one in (learner, restored))
    for mine, other in zip(*newest, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_arrays_are_copies_that_the_next_update_leaves_alone(make_learner, batch):
    learner = make_learner()
    arrays = learner.arrays()
    before = {name: value.copy() for name, value in arrays.items()}
    for _ in range(2):
        learner.update(batch)
    learner.synchronize()
    for name, value in arrays.items():
        np.testing.assert_array_equal(value, before[name])


def test_what_a_checkpoint_holds_is_of_its_moment(make_learner, batch):
    learner = make_learner()
    learner.update(batch)
    held = learner.held()
    before = {name: value.copy() for name, value in held.items()}
    assert any(name.startswith("carry/") for name in held)
    for _ in range(2):
        learner.update(batch)
    learner.synchronize()
    for name, value in held.items():
        np.testing.assert_array_equal(value, before[name])


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(make_learner, make_policy, batch, obs):
    learner, policy = make_learner(), make_policy()
    for _ in range(3):
        learner.update(batch)
    policy.set_params(learner.acting())
    policy.act(policy.init(2), obs)
    arrays, held = learner.arrays(), learner.held()
    counters = {**learner.counters, **policy.counters}

    def go_on(learner, policy):
        seen = []
        for _ in range(3):
            policy.set_params(learner.acting())
            _, actions, latents = policy.act(policy.init(2), obs)
            outputs = learner.update(batch)
            seen += [actions["action"], latents["latent/deter"], outputs.latents["latent/deter"]]
        return [np.asarray(value) for value in (*seen, *learner.arrays().values())]

    expected = go_on(learner, policy)
    other, restored = make_learner(), make_policy()
    other.load(arrays, counters, held)
    restored.restore(counters)
    assert other.acting().version == 2
    for value, wanted in zip(go_on(other, restored), expected, strict=True):
        np.testing.assert_array_equal(value, wanted)


def test_what_a_checkpoint_lacks_or_holds_in_another_size_is_made_anew(make_learner, batch):
    learner = make_learner()
    learner.update(batch)
    arrays, held = learner.arrays(), learner.held()
    other = make_learner()
    other.load(arrays, held={name: value[:1] for name, value in held.items()})
    other.load(arrays)
    outputs = other.update(batch)
    np.testing.assert_allclose(outputs.latents["latent/deter"], batch["obs"][:, 1:], rtol=1e-6)


def test_nan_in_a_batch_stops_at_the_next_update_and_is_dumped(make_learner, batch, tmp_path):
    learner = make_learner(dump_folder=tmp_path)
    learner.update(batch)
    broken = {**batch, "obs": batch["obs"].copy()}
    broken["obs"][2, 3, 1] = np.nan
    learner.update(broken)
    with pytest.raises(NonFiniteError, match=r"'loss/rec', 'opt/grad_norm'.*update-2.*nonfinite"):
        learner.update(batch)
    folder = tmp_path / "nonfinite" / "update-2"
    with np.load(folder / "arrays.npz") as saved:
        np.testing.assert_array_equal(saved["obs"], broken["obs"])
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["loss/rec"] == "nan"
    assert 0 <= metrics["draw"] <= 1


def test_nan_of_the_last_update_stops_saving(make_learner, batch):
    learner = make_learner()
    learner.update({**batch, "obs": np.full((4, 6, 3), np.inf, np.float32)})
    with pytest.raises(NonFiniteError, match="update-1; nothing was written"):
        learner.arrays()


def test_nan_parameters_are_never_handed_out(make_learner):
    learner = make_learner()
    learner.load({"params/policy": np.array([1, np.nan, 1], np.float32)})
    with pytest.raises(NonFiniteError, match="params/policy"):
        learner.arrays()


def test_loading_names_the_arrays_that_do_not_fit(make_learner):
    learner = make_learner()
    with pytest.raises(MismatchError, match=r"params/policy is \(4,\), the agent's is \(3,\)"):
        learner.load({"params/policy": np.ones(4, np.float32)})
    with pytest.raises(MismatchError, match="no array params/other"):
        learner.load({"params/other": np.ones(4, np.float32)})


def test_unknown_numbers_of_a_report_are_no_bad_ones(make_learner, batch):
    learner = make_learner()
    batch["obs"][0] = np.nan
    with jax.debug_nans(True):
        assert np.isnan(learner.report(batch)["openloop/obs"]).any()


def test_report_returns_host_arrays(make_learner, batch):
    learner = make_learner()
    report = learner.report(batch)
    expected = batch["obs"] @ kernel(learner)
    np.testing.assert_allclose(report["openloop/obs"], expected, rtol=1e-5, atol=1e-6)
    assert isinstance(report["openloop/obs"], np.ndarray)


def test_metric_vector_keeps_names_through_jit():
    packed = jax.jit(MetricVector.pack)({"b": 2, "a": np.float32(0.5)})
    assert packed.values.shape == (2,)
    assert packed.unpack() == {"a": 0.5, "b": 2.0}


def test_metric_vector_refuses_arrays():
    with pytest.raises(TypeError, match=r"'a': \(3,\)"):
        MetricVector.pack({"a": np.ones(3)})
