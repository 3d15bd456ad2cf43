"""Evaluations of a trained agent from Python."""

import os
import pickle
import re
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from PIL import Image, ImageSequence

import reverie
from reverie.envs.errors import SpaceError
from reverie.run.environments.film import FilmingError
from reverie.track.pictures import style


@pytest.fixture(scope="module")
def agent(finished):
    return reverie.load(finished.logdir)


class Noted(gymnasium.Wrapper):
    """Keeps seeds and first observations of episodes, and the actions."""

    starts = []  # noqa: RUF012
    actions = []  # noqa: RUF012

    def reset(self, **kwargs):
        obs, info = self.env.reset(**kwargs)
        if kwargs.get("seed") is not None:  # Not one that looks for masks in the infos.
            Noted.starts.append(tuple(obs.tolist()))
        return obs, info

    def step(self, action):
        Noted.actions.append(int(action))
        return self.env.step(action)


def make():
    return Noted(gymnasium.make("CartPole-v1", max_episode_steps=20))


def play(agent, *args, **kwargs):
    """First observations, actions and scores of an evaluation."""
    Noted.starts, Noted.actions = [], []
    result = agent.evaluate(make, *args, **kwargs)
    return Noted.starts, Noted.actions, result.scores


def test_calls_without_a_seed_play_other_episodes_and_repeat_when_loaded_again(agent, finished):
    agents = [reverie.load(finished.logdir) for _ in range(2)]
    (first, again), (same, _) = ([play(each, 2) for _ in range(2)] for each in agents)
    assert first == same
    assert not set(first[0]) & set(again[0])


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_seed_repeats_the_episodes(agent, deterministic):
    first = play(agent, 3, seed=5, deterministic=deterministic)
    assert play(agent, 3, seed=np.int64(5), deterministic=deterministic) == first
    assert play(agent, 3, seed=6, deterministic=deterministic)[0] != first[0]


def test_actions_may_be_drawn(agent):
    likely, drawn = (play(agent, 4, seed=1, deterministic=x) for x in (True, False))
    assert set(likely[0][:2]) == set(drawn[0][:2])
    assert likely[1] != drawn[1]


@pytest.mark.parametrize("seed", [-1, 1.5, "1"])
def test_a_seed_that_is_none_is_refused(agent, seed):
    with pytest.raises(ValueError, match=f"The seed is {seed!r}: expected None, or 0 or more"):
        agent.evaluate(make, 1, seed=seed)


@pytest.mark.parametrize("episodes", [0, "3", 1.5])
def test_a_number_of_episodes_that_is_none_is_refused(agent, episodes):
    with pytest.raises(ValueError, match="expected 1 or more"):
        agent.evaluate(make, episodes)


def test_a_state_that_is_none_of_its_own_is_refused(agent):
    with pytest.raises(ValueError, match="The state is a tuple: expected what the previous call"):
        agent.policy(np.zeros(2, np.float32), (1, 2))


def test_what_makes_the_environment_of_the_run_goes_to_processes(finished):
    agent = reverie.load(finished.logdir)
    run = agent._config.run.model_copy(update={"env_backend": "async"})
    agent._config = agent._config.model_copy(update={"run": run})
    assert len(agent.evaluate(agent.make_env, 1).scores) == 1


class Other(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.zeros(3, np.float32), {}


def test_another_environment_is_told_by_its_spaces(agent):
    with pytest.raises(SpaceError) as caught:
        agent.evaluate(Other, 1)
    text = str(caught.value)
    assert "trained with the observations (obs: continuous (4,))" in text
    assert "the environment has (obs: continuous (3,))" in text
    assert "gym_CartPole-v1" in text


def test_an_agent_says_what_it_is(agent, finished):
    text = repr(agent)
    assert text.startswith(
        f"<TrainedAgent of gym_CartPole-v1 after 120 steps from {finished.logdir}"
    )
    assert "Discrete(2)" in text
    assert "Box(" in text


def test_an_agent_for_another_process_is_loaded_there(agent, finished):
    with pytest.raises(TypeError, match=re.escape(f"Call reverie.load({str(finished.logdir)!r})")):
        pickle.dumps(agent)


@pytest.mark.parametrize("act", ["policy", "evaluate"])
def test_an_agent_in_a_fork_of_its_process_says_what_to_do(agent, monkeypatch, act):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(RuntimeError, match=r"get_context\('spawn'\)"):
        getattr(agent, act)(np.zeros(4, np.float32))


def test_an_evaluation_has_a_deviation_and_no_film_unless_asked_for(agent):
    result = agent.evaluate(make, 3, seed=0, video=None)
    assert result.video is None
    assert result.std_score == pytest.approx(np.std(result.scores))


def drawn():
    return gymnasium.make("CartPole-v1", render_mode="rgb_array", max_episode_steps=12)


def test_episodes_in_an_own_environment_are_filmed(agent, tmp_path):
    pytest.importorskip("pygame")
    result = agent.evaluate(drawn, 1, video=tmp_path / "film")
    assert result.video.stem == "film"
    assert result.video.parent == tmp_path
    assert result.video.stat().st_size > 1000
    assert len(result.scores) == 1


class Long(gymnasium.Env):
    """Episodes of ten and twelve steps, shown at 20 steps per second."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012
    render_mode = "rgb_array"
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    length = 8

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.length = 0, self.length + 2
        return np.zeros(4, np.float32), {}

    def step(self, action):
        self.time += 1
        obs = np.full(4, self.time / 20, np.float32)
        return obs, 1.0, self.time == self.length, False, {}

    def render(self):
        return np.full((400, 400, 3), (10 * self.time, 0, 0), np.uint8)


def colored(frame, color):
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(frame.astype(int) - rgb).sum(-1) < 60).sum()


def test_a_film_shows_whole_episodes_with_reward_and_value_at_their_speed(agent, tmp_path):
    result = agent.evaluate(Long, 2, video=tmp_path / "film.gif")
    assert result.video == tmp_path / "film.gif"
    with Image.open(result.video) as film:
        seconds = [frame.info["duration"] / 1000 for frame in ImageSequence.Iterator(film)]
        frames = [np.asarray(x.convert("RGB")) for x in ImageSequence.Iterator(film)]
    first, second = result.lengths
    assert second == first + 2
    steps = [round(float(frame[:400, :, 0].mean()) / 10) for frame in frames]
    ends = [step for step, time in zip(steps, seconds, strict=True) if time > 0.5]
    # Equal pictures of the hold at an end are one that lasts.
    assert [step for n, step in enumerate(steps) if not n or step != steps[n - 1]] == [
        *range(first + 1), *range(second + 1)
    ]  # fmt: skip
    assert sum(seconds) == pytest.approx((first + second + 2) / 20 + 2 * 0.8, abs=0.05)
    assert ends in ([], [first, second])
    panel = frames[first - 1][400:]
    for color in (style.BLUE, style.ORANGE, style.INK):
        assert colored(panel, color) > 20


class Plot(Long):
    """Draws pictures that grow."""

    def render(self):
        return np.full((300 + self.time, 400, 3), (10 * self.time, 0, 0), np.uint8)


def test_pictures_of_several_sizes_make_a_film(agent, tmp_path):
    result = agent.evaluate(Plot, 1, video=tmp_path / "film.gif")
    with Image.open(result.video) as film:
        film.seek(film.n_frames - 1)
        last = np.asarray(film.convert("RGB"))
    assert last[:300, :, 0].mean() == pytest.approx(10 * result.lengths[0], abs=5)


def test_a_gif_ends_before_it_fills_the_memory(agent, tmp_path, monkeypatch):
    monkeypatch.setattr("reverie.track.encoding.video.GIF_FRAMES", 5)
    with pytest.warns(UserWarning, match=r"ends after 5 frames.*-e '\.\[video\]'"):
        result = agent.evaluate(Long, 1, video=tmp_path / "film.gif")
    assert result.lengths[0] > 5
    with Image.open(result.video) as film:
        assert film.n_frames == 5


@pytest.mark.filterwarnings("ignore:.*render method without:UserWarning")
def test_an_environment_without_pictures_is_not_filmed(agent):
    with pytest.raises(FilmingError, match=r"has to be made with it: functools.partial\(MyEnv, r"):
        agent.evaluate(make, 1, video=True)


class Unrendered(Other):
    """As Gymnasium's own introduction writes a class: it takes no render mode."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(4, np.float32), {}

    def step(self, action):
        return np.zeros(4, np.float32), 1.0, True, False, {}


class Drawing(Unrendered):
    def render(self):
        return np.zeros((48, 48, 3), np.uint8)


@pytest.mark.parametrize("name", ["own_zoo:Unrendered", "Unrendered-v0"])
def test_a_class_without_render_mode_is_explained(agent, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "own_zoo", sys.modules[__name__])
    spec = EnvSpec("Unrendered-v0", entry_point=Unrendered)
    monkeypatch.setitem(gymnasium.registry, spec.id, spec)
    with pytest.raises(FilmingError, match=r"needs an argument render_mode .* 'rgb_array', and"):
        agent.evaluate(name, 1, video=True)


def test_a_class_without_render_mode_is_filmed_if_it_draws(agent, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "own_zoo", sys.modules[__name__])
    result = agent.evaluate("own_zoo:Drawing", 1, video=tmp_path / "film")
    assert result.video.exists()
