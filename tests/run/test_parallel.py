"""Whole runs of script parallel in a local Ray, with the smallest agent."""

import subprocess
import sys

import cloudpickle
import gymnasium
import numpy as np
import pytest

import reverie
from reverie.actors.cluster.fleet import import_ray
from reverie.track.sinks.jsonl import read_jsonl

# Actors have no such module, as they have none of a notebook.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Counter(gymnasium.Env):
    """Tells the number of steps since the reset; every tenth step ends an episode."""

    observation_space = gymnasium.spaces.Box(0, 20, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.time += 1
        return np.full(1, self.time, np.float32), 1.0, self.time == 10, False, {}


SERVE = """
import ray
ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False, configure_logging=False,
         log_to_driver=False, object_store_memory=150 << 20)
print(ray.get_runtime_context().gcs_address, flush=True)
input()
"""


@pytest.fixture(scope="module", autouse=True)
def address():
    """One Ray for all runs in this process, which use it and leave it alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        ray = import_ray()
        command = [sys.executable, "-W", "ignore", "-c", SERVE]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            address = process.stdout.readline().strip()
            ray.init(address=address, configure_logging=False, log_to_driver=False)
            yield address
            ray.shutdown()
            process.communicate("\n", timeout=60)


@pytest.fixture
def train(tmp_path, cache):
    """Trains in this process with two actors; options are dotted keys."""

    def start(env=Counter, sinks=(), callbacks=(), **options):
        given = {"run.save_every": 0, "run.report_every": 0, "logger.outputs": ["jsonl"]}
        given |= {"jax.cache_dir": cache, "ray.chunk": 8, "logdir": tmp_path / "run", **options}
        return reverie.train(env, ["debug", "parallel"], sinks=sinks, callbacks=callbacks, **given)

    return start


def test_a_run_has_the_ratio_and_the_records_of_a_single_process(train, tmp_path, notes):
    outcome = train(sinks=[notes], **{"run.steps": 200})
    assert outcome.steps == 208  # Whole chunks of eight steps of two environments.
    # As in one process: none before the first batch, then one for every two steps.
    first = 2 * 9
    assert abs(outcome.updates - (outcome.steps - first) / 2) <= 8
    records = read_jsonl(tmp_path / "run" / "metrics.jsonl")[-1]
    # The second actor may start when the first one has made all steps.
    assert records["replay/streams"] == 2 * records["actors/running"]
    assert records["actors/restarts"] == 0
    scores = read_jsonl(tmp_path / "run" / "scores.jsonl")
    assert {record["episode/score"] for record in scores} == {10.0}
    assert any("Each actor has 2 environments, backend sync" in text for text in notes.texts)
