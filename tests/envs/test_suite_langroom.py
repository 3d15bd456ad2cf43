"""LangRoom: the game and its pictures are those of the package."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

package = pytest.importorskip("langroom")
game = pytest.importorskip("langroom.langroom")

from reverie.config.sections.env import LangroomConfig  # noqa: E402
from reverie.envs.check import check  # noqa: E402
from reverie.envs.errors import UnknownTaskError  # noqa: E402
from reverie.envs.flat.conform import spaces  # noqa: E402
from reverie.envs.flat.leaves import random_actions  # noqa: E402
from reverie.envs.registry import make, tasks  # noqa: E402
from reverie.envs.suites import langroom  # noqa: E402

WORDS = game.VOCAB
SILENT = {"move": 0, "talk": 0}


def play(env, steps, seed=0):
    """Observations, rewards and flags of random actions, with the first observation in front."""
    actions = random_actions(spaces(env)[1], steps, np.random.default_rng(0))
    record = [(env.reset(seed=seed)[0], 0.0, False, False)]
    for index in range(steps):
        if record[-1][3]:
            record.append((env.reset()[0], 0.0, False, False))
        else:
            record.append(env.step({key: value[index] for key, value in actions.items()})[:4])
        assert env.observation_space.contains(record[-1][0])
    return record


def rehearse(seed, steps=200):
    """The words that a silent player hears, which do not depend on what is said."""
    env = langroom.make("echo")
    heard = [env.reset(seed=seed)[0]["text"]]
    return heard + [env.step(SILENT)[0]["text"] for _ in range(steps - 1)]


def total(task, seed, say):
    """Rewards of saying at each step the word that `say` finds for the word that is coming."""
    env = langroom.make(task)
    env.reset(seed=seed)
    coming = rehearse(seed)[1:]
    return [env.step({"move": 0, "talk": say(WORDS[word])})[1] for word in coming]


@pytest.mark.parametrize(
    ("size", "view"), [((64, 64), 2), ((60, 60), 1), ((77, 77), 3), ((32, 32), 2), ((47, 47), 7)]
)
def test_pictures_are_those_of_the_package(size, view):
    env = langroom.make("answer_only", size=size, view=view)
    rng = np.random.default_rng(1)
    seen = set()
    env.reset(seed=0)
    for _ in range(250):
        obs, _, _, truncated, _ = env.step({"move": rng.integers(5), "talk": 0})
        own = package.LangRoom.render(env._room).transpose((1, 0, 2))
        np.testing.assert_array_equal(obs["image"], own)
        seen.add((env._room.player, *env._room.colors.values()))
        if truncated:
            env.reset()
    assert len(seen) > 50


def test_the_game_is_that_of_the_package():
    """Same random numbers, same actions: words, rewards and ends agree with the package's."""
    env = langroom.make("answer_and_echo", length=80)
    env.reset(seed=5)
    other = package.LangRoom("answer-and-echo", length=80)
    other.rng = np.random.default_rng()
    other.rng.bit_generator.state = langroom_state = _state(5)
    assert langroom_state["bit_generator"] == "PCG64"
    other.step({"reset": True})
    rng = np.random.default_rng(0)
    for _ in range(80):
        action = {"move": int(rng.integers(5)), "talk": int(rng.integers(15))}
        obs, reward, terminated, truncated, _ = env.step(action)
        found = other.step({**action, "reset": False})
        assert obs["text"] == found["text"]
        assert reward == pytest.approx(float(found["reward"]))
        assert (terminated, truncated) == (found["is_terminal"], found["is_last"])
        np.testing.assert_array_equal(obs["image"], found["image"])
    assert truncated


def _state(seed):
    return gymnasium.utils.seeding.np_random(seed)[0].bit_generator.state


def test_questions_come_before_their_answers():
    heard = [WORDS[word] for word in rehearse(3)]
    asked = [index for index, word in enumerate(heard) if word == "?"]
    assert len(asked) >= 4
    for index in asked[:-1]:
        assert heard[index - 5 : index - 1] == ["what", "color", "is", "the"]
        assert heard[index - 1] in game.OBJECTS
        assert heard[index + 1 : index + 13] == [""] * 10 + ["it", "is"]
        assert heard[index + 13] in game.COLORS


@pytest.mark.parametrize(
    ("task", "right", "wrong", "elsewhere"),
    [
        ("answer_only", 1.0, -0.1, -0.01),
        ("answer_and_echo", 10.0, 0.0, 0.1),
        ("echo", 1.0, 0.0, 1.0),
    ],
)
def test_rewards_are_those_of_the_task(task, right, wrong, elsewhere):
    answers = sum(WORDS[word] in game.COLORS for word in rehearse(7)[1:])
    assert answers >= 4
    good = total(task, 7, WORDS.index)
    # Words other than silence, where they come, are guessed too.
    spoken = [word for word in rehearse(7)[1:] if word]
    others = 199 - answers if task != "answer_only" else len(spoken) - answers
    assert sum(good) == pytest.approx(answers * right + others * elsewhere, rel=1e-4)

    def lie(word):
        return WORDS.index("red" if word != "red" else "blue") if word in game.COLORS else 0

    silence = 199 - len(spoken) if task != "answer_only" else 0
    kept = {"answer_only": 0.0, "answer_and_echo": 0.1, "echo": 1.0}[task]
    assert sum(total(task, 7, lie)) == pytest.approx(answers * wrong + silence * kept, rel=1e-4)


def test_random_steps_stay_in_the_spaces_and_repeat_under_a_seed():
    for task in tasks("langroom"):
        records = [play(make(f"langroom_{task}", {"length": 90}), 120, seed) for seed in (0, 0, 1)]
        equal = [
            all(
                one[1:] == two[1:]
                and all(np.array_equal(one[0][key], two[0][key]) for key in one[0])
                for one, two in zip(records[0], other, strict=True)
            )
            for other in records[1:]
        ]
        assert equal == [True, False]
        assert [index for index, step in enumerate(records[0]) if step[3]] == [90]
        assert not any(step[2] for step in records[0])


def test_settings_have_their_effect_and_the_defaults_of_the_configuration():
    env = make("langroom_echo", {"size": [110, 110], "view": 5, "vocab": 40, "length": 2})
    obs, act = spaces(env)
    assert obs["image"].shape == (110, 110, 3)
    assert (act["move"].classes, act["talk"].classes, obs["text"].classes) == ((5,), (40,), (40,))
    env.reset(seed=0)
    action = {"move": np.int32(0), "talk": np.int32(39)}
    assert [env.step(action)[3] for _ in range(2)] == [False, True]
    near, far = (make("langroom_echo", {"view": view, "size": [66, 66]}) for view in (1, 5))
    assert (near.reset(seed=0)[0]["image"] != far.reset(seed=0)[0]["image"]).any()
    options = LangroomConfig().model_dump()
    assert options == {"length": 200, "size": (64, 64), "view": 2, "vocab": len(WORDS)}
    env = make("langroom_answer_only", options)
    assert [index for index, step in enumerate(play(env, 210)) if step[3]] == [200]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": [64, 60]}, "square"),
        ({"size": [64, 64], "view": 1}, r"view=1 .* \[63, 63\]"),
        ({"size": [3, 3]}, r"\[5, 5\]"),
        ({"view": 0}, "view = 0: expected an integer >= 1"),
        ({"vocab": 14}, "vocab = 14: expected an integer >= 15"),
        ({"length": 0}, "length = 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        make("langroom_echo", options)


def test_the_advised_sizes_work():
    for size, view in (((63, 63), 1), ((5, 5), 2)):
        env = langroom.make("echo", size=size, view=view)
        assert env.reset(seed=0)[0]["image"].shape == (*size, 3)


def test_unknown_tasks_and_a_missing_reset_are_errors():
    with pytest.raises(UnknownTaskError, match="langroom_answer_only"):
        make("langroom_answer")
    for call in (lambda env: env.step(SILENT), lambda env: env.render()):
        with pytest.raises(gymnasium.error.ResetNeeded, match="Call reset"):
            call(langroom.make("echo"))


def test_the_picture_is_what_the_player_sees():
    env = langroom.make("echo")
    obs, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), obs["image"])
    moved = env.step({"move": 3, "talk": 0})[0]["image"]
    assert env._room.player == (5, 4)
    assert moved.base is None


def test_the_checks_find_nothing():
    for name in tasks("langroom"):
        found = check(f"langroom_{name}", {"length": 60})
        assert [str(f) for f in found if f.level != "note"] == []
    check_env(langroom.make("echo", length=30), skip_render_check=True)
