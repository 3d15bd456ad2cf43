"""Whole runs on an environment in which an invalid action raises an exception."""

import importlib.util
import pathlib

import gymnasium
import numpy as np
import pytest

import reverie
from reverie.envs.errors import ValueMismatchError
from reverie.envs.flat.masks import MaskFromInfo
from reverie.track.sinks.jsonl import read_jsonl

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "tic_tac_toe.py"


@pytest.fixture(scope="module")
def tic_tac_toe():
    spec = importlib.util.spec_from_file_location("tic_tac_toe", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TicTacToe


class InInfo(gymnasium.Wrapper):
    """The mask in the info in place of the observation, where the last one has none."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = env.observation_space["board"]
        self.resets = 0

    def reset(self, **options):
        self.resets += 1
        obs, info = self.env.reset(**options)
        return obs["board"], {**info, "action_mask": obs["action_mask"].astype(np.int8)}

    def step(self, action):
        obs, reward, terminated, truncated, info = self.env.step(action)
        more = {} if terminated else {"action_mask": obs["action_mask"].astype(np.int8)}
        return obs["board"], reward, terminated, truncated, {**info, **more}


@pytest.fixture
def train(cache, tmp_path):
    def run(env, **options):
        defaults = {"run.steps": 300, "run.report_every": 0, "run.save_every": 0}
        defaults |= {"jax.cache_dir": cache, "logger.outputs": ["jsonl"], "run.log_every": 0.1}
        return reverie.train(env, configs="debug", logdir=str(tmp_path), **(defaults | options))

    return run


@pytest.mark.slow
def test_three_hundred_steps_of_training_and_an_evaluation_take_no_invalid_action(
    train, tic_tac_toe, tmp_path
):
    outcome = train(tic_tac_toe, **{"run.final_eval_eps": 4})
    assert outcome.updates > 100
    assert len(outcome.evaluation.scores) == 4
    losses = [
        record["train/loss/rec/action_mask"]
        for record in read_jsonl(tmp_path / "metrics.jsonl")
        if "train/loss/rec/action_mask" in record
    ]
    # The world model learns to predict the mask: nine fair coins cost 6.2.
    assert losses[-1] < 5.5
    agent = reverie.load(tmp_path)
    env, state = tic_tac_toe(), None
    obs, _ = env.reset(seed=0)
    over = False
    while not over:
        action, state = agent.policy(obs, state)
        obs, _, over, _, _ = env.step(action)


def test_a_mask_in_the_info_is_found_and_used(train, tic_tac_toe):
    made = []

    def make():
        made.append(InInfo(tic_tac_toe()))
        return made[-1]

    assert train(make, **{"run.steps": 60}).updates > 10
    # One was made to look for masks and to read the spaces, and two to train.
    assert len(made) == 3
    assert made[0].resets == 1


@pytest.mark.parametrize("in_info", [False, True])
def test_a_random_agent_respects_masks(train, tic_tac_toe, in_info):
    env = (lambda: InInfo(tic_tac_toe())) if in_info else tic_tac_toe
    assert train(env, random_agent=True, **{"run.final_eval_eps": 4}).steps == 300


def test_an_ignored_mask_is_not_respected(train, tic_tac_toe):
    with pytest.raises(ValueError, match="is taken"):
        train(lambda: InInfo(tic_tac_toe()), random_agent=True, **{"env.gym.info_mask": "ignore"})


def test_a_mask_without_a_valid_action_stops_the_run_with_its_name(train, tic_tac_toe):
    class Stuck(tic_tac_toe):
        def step(self, action):
            obs, *rest = super().step(action)
            return {**obs, "action_mask": np.zeros(9, bool)}, *rest

    with pytest.raises(ValueMismatchError, match=r"Stuck, step 1 .*'action_mask' allows no class"):
        train(Stuck, random_agent=True)


def test_a_wrapped_environment_needs_no_option(tic_tac_toe):
    env = MaskFromInfo(InInfo(tic_tac_toe()))
    assert sorted(env.observation_space.keys()) == ["action_mask", "obs"]
