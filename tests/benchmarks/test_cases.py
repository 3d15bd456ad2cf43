"""Which rows a request means."""

import pytest
from cases import TRAIN_ROWS, BenchError, Request

from reverie.errors import ConfigError


def rows(request):
    train = [(case.size, case.obs) for case in request.train_cases()]
    policy = [(case.size, case.obs, case.envs) for case in request.policy_cases()]
    return train, policy, request.startup_sizes()


def test_default_is_every_standard_row():
    train, policy, startup = rows(Request())
    assert train == [("size1m", "vector"), ("size1m", "image"), ("size12m", "image")]
    assert policy == [("size1m", obs, envs) for obs in ("vector", "image") for envs in (1, 16)]
    assert startup == []


def test_size_or_observation_choose_train_steps():
    assert rows(Request(obs=["image"])) == ([("size1m", "image")], [], [])
    both = [("size12m", "vector"), ("size12m", "image")]
    assert rows(Request(sizes=["size12m"])) == (both, [], [])


def test_sections_choose_what_is_measured():
    one = {"sizes": ["size12m"], "obs": ["image"]}
    policy = [("size12m", "image", 1), ("size12m", "image", 16)]
    assert rows(Request(**one, sections=["policy"])) == ([], policy, [])
    train, _, startup = rows(Request(sections=["train", "startup"]))
    assert train == list(TRAIN_ROWS)
    assert startup == ["size1m"]


def test_words_are_laid_over_the_size():
    (case,) = Request(["size1m"], ["vector"], words=("--agent.dyn.deter", "64")).train_cases()
    config = case.config()
    assert (config.agent.dyn.deter, config.agent.dyn.hidden) == (64, 64)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"obs": ["sound"]}, BenchError, "--obs is sound; expected vector or image"),
        ({"updates": 0}, BenchError, "--updates is 0"),
        ({"sizes": ["size2m"]}, ConfigError, "size2m"),
        ({"words": ("--batch_sizes", "3")}, ConfigError, "batch_size"),
        ({"sections": ["startup"], "words": ("--batch_sizes", "3")}, ConfigError, "batch_size"),
        ({"words": ("--random_agent", "true")}, ConfigError, "random_agent"),
    ],
)
def test_wrong_requests_fail_before_anything_is_measured(options, error, message):
    with pytest.raises(error, match=message):
        Request(**options)
