"""Platforms, precision, the compilation cache and several devices."""

import json
import os
import subprocess
import sys
import textwrap
import types

import pytest

from reverie.learner.placement import devices
from reverie.learner.placement.devices import DeviceError, Placement, configure, resolve_dtype


def test_auto_precision_is_float32_on_cpu(placement):
    assert resolve_dtype("auto", placement.platform) == "float32"
    assert resolve_dtype("bfloat16", placement.platform) == "bfloat16"


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_auto_precision_is_bfloat16_on_accelerators(platform):
    device = types.SimpleNamespace(platform=platform)
    placement = Placement((device,), device)
    assert resolve_dtype("auto", placement.platform) == "bfloat16"
    assert resolve_dtype("float16", placement.platform) == "float16"


def test_missing_device_and_platform_are_named():
    with pytest.raises(DeviceError, match=r"jax.policy_device is \[50\], but the devices here are"):
        configure("cpu", policy_device=50, cache_dir="off")
    with pytest.raises(DeviceError, match=r"no such device.*-e '.\[cuda\]'"):
        devices._find("cuda")


@pytest.fixture
def no_devices(monkeypatch):
    def missing(*_):
        raise AssertionError

    monkeypatch.setattr(devices.jax, "devices", missing)


@pytest.mark.parametrize("wanted", [None, "cpu"])
def test_what_keeps_jax_from_starting_is_told_to_who_acts(no_devices, wanted):
    with pytest.raises(DeviceError, match=r"JAX_PLATFORMS is '.*', but JAX finds no"):
        devices.choose(wanted)


def test_an_error_of_jax_without_a_text_leaves_no_brackets(no_devices):
    with pytest.raises(DeviceError, match=r"no such device\. .*'.\[tpu\]'"):
        devices._find("tpu")


@pytest.mark.parametrize("use", [configure, lambda: devices.choose(None)])
def test_a_fork_of_a_process_with_jax_is_told_what_to_do(monkeypatch, use):
    devices.choose(None)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(DeviceError, match=r"get_context\('spawn'\)"):
        use()


def test_no_devices_beyond_the_cores_are_simulated_unasked():
    script = """
        from reverie.learner.placement import devices
        from reverie.learner.placement.devices import DeviceError, configure
        devices.cores = lambda: 2
        try:
            configure("cpu", devices=[7], cache_dir="off")
        except DeviceError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "jax.devices is [7], but the devices here are 0..2 (cpu)" in said
    assert "--jax.mock_devices simulates more" in said


SCRIPT = """
    import json, sys
    import numpy as np
    sys.path.insert(0, {folder!r})
    from conftest import FakeAgent
    from reverie.learner.placement.devices import configure
    from reverie.learner.learner import Learner
    from reverie.learner.policy import Policy

    count = int(sys.argv[1])
    placement = configure("cpu", devices=range(count), mock_devices=count + 1,
                          cache_dir=sys.argv[2])
    learner = Learner(FakeAgent(), placement=placement, seed=3)
    rng = np.random.default_rng(0)
    batch = {{"obs": rng.normal(size=(8, 6, 3)).astype(np.float32)}}
    for _ in range(3):
        out = learner.update(batch)
    obs = {{"obs": np.ones((2, 3), np.float32), "is_first": np.ones(2, bool)}}
    policy = Policy(learner.agent, learner.acting(newest=True), device=placement.policy, seed=3)
    action = policy.act(policy.init(2), obs)[1]["action"]
    result = {{
        "devices": [len(out.priority.sharding.device_set), placement.policy.id],
        "kernel": learner.arrays()["params/enc/kernel"].ravel().tolist(),
        "metrics": list(learner.pop_metrics()[-1].values()),
        "action": action.tolist(),
        "report": [learner.report(batch)["openloop/obs"].ravel().tolist() for _ in range(2)][1],
    }}
    print(json.dumps(result))
"""


def run_script(count, cache):
    script = textwrap.dedent(SCRIPT).format(folder=os.path.dirname(__file__))
    command = [sys.executable, "-c", script, str(count), str(cache)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def test_four_devices_equal_one(tmp_path):
    one, four = run_script(1, "off"), run_script(4, tmp_path)
    assert one["devices"] == [1, 1]
    assert four["devices"] == [4, 4]
    for name in ("kernel", "metrics", "action", "report"):
        assert four[name] == pytest.approx(one[name], rel=1e-5)


@pytest.mark.parametrize(
    ("batch_size", "limit", "count"),
    [(16, 2, 2), (16, 3, 2), (16, 6, 4), (16, 64, 8), (6, 4, 3), (7, 4, 1), (1, 4, 1), (16, 0, 1)],
)
def test_a_batch_is_shared_by_as_many_devices_as_divide_it(batch_size, limit, count):
    assert devices._even_shares(batch_size, limit) == count


def test_cores_share_a_batch_unless_devices_are_named(monkeypatch):
    monkeypatch.setattr(devices, "cores", lambda: 2)
    cpu = [types.SimpleNamespace(platform="cpu", id=i, process_index=0) for i in range(4)]
    gpu = [types.SimpleNamespace(platform="gpu", id=i, process_index=0) for i in range(4)]
    monkeypatch.setattr(devices, "_find", lambda platform: cpu)
    placement = configure(batch_size=16, cache_dir="off")
    assert placement == Placement((cpu[0], cpu[1]), cpu[2])
    assert configure(devices=[0], batch_size=16, cache_dir="off").training == (cpu[0],)
    assert configure(batch_size=3, cache_dir="off").training == (cpu[0],)
    # Where JAX had started before with one device, as in a notebook, that one does all.
    monkeypatch.setattr(devices, "_find", lambda platform: cpu[:1])
    assert configure(batch_size=16, cache_dir="off") == Placement((cpu[0],), cpu[0])
    monkeypatch.setattr(devices, "_find", lambda platform: gpu)
    assert configure(batch_size=16, cache_dir="off") == Placement((gpu[0],), gpu[0])


def test_uneven_batch_over_devices_is_explained(placement):
    three = Placement(placement.training * 3, placement.policy)
    three.check_batch(6)
    with pytest.raises(DeviceError, match="batch_size 4 cannot be split evenly over the 3"):
        three.check_batch(4)
