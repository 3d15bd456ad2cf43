"""Success rates over episodes, and the score of Crafter."""

import numpy as np
import pytest

from reverie.track.achievements import Achievements
from reverie.track.stats import EpisodeStats


def record(**reached):
    logs = {f"epstats/log/achievement_{name}/max": value for name, value in reached.items()}
    return {"episode/score": 1.0, "episode/length": 3, "epstats/log/other/max": 1.0, **logs}


def test_rates_are_percent_of_episodes_and_the_score_their_geometric_mean():
    achievements = Achievements()
    achievements.add(record(wood=2.0, stone=1.0, iron=0.0))
    achievements.add(record(wood=1.0, stone=0.0, iron=0.0))
    metrics = achievements.metrics()
    score = metrics.pop("achievement/score")
    assert metrics == {
        "achievement/rate/wood": 100.0,
        "achievement/rate/stone": 50.0,
        "achievement/rate/iron": 0.0,
    }
    # The third root of (1 + 100) (1 + 50) (1 + 0), less 1.
    assert score == pytest.approx(5151 ** (1 / 3) - 1)


def test_all_achievements_in_all_episodes_are_the_best_score():
    achievements = Achievements()
    achievements.add(record(wood=1.0, stone=7.0))
    assert achievements.metrics()["achievement/score"] == pytest.approx(100.0)


def test_what_was_saved_is_counted_on():
    one, both = Achievements(), Achievements()
    for reached in (record(wood=1.0), record(wood=0.0)):
        one.add(reached)
        both.add(reached)
    restored = Achievements(**one.save())
    for each in (restored, both):
        each.add(record(wood=3.0))
    assert restored.metrics() == both.metrics()
    assert both.metrics()["achievement/rate/wood"] == pytest.approx(200 / 3)


def test_an_environment_without_achievements_has_no_score():
    achievements = Achievements()
    assert achievements.metrics() == {}
    achievements.add(record())
    assert achievements.metrics() == {}


def test_an_achievement_counts_although_the_environment_forgets_it_again():
    stats, achievements = EpisodeStats(1), Achievements()
    for step, value in enumerate([0.0, 1.0, np.nan, 0.0]):
        transition = {
            "reward": np.zeros(1),
            "is_first": np.array([step == 0]),
            "is_last": np.array([step == 3]),
            "log/achievement_light": np.array([value]),
        }
        for ended in stats.add(transition):
            achievements.add(ended)
    assert achievements.metrics()["achievement/rate/light"] == 100.0
