"""Statistics of episodes."""

import pickle

import numpy as np
import pytest

from reverie.track.stats import EpisodeStats


def transition(reward, first, last, **others):
    return {
        "reward": np.array(reward, np.float32),
        "is_first": np.array(first, bool),
        "is_last": np.array(last, bool),
        "is_terminal": np.array(last, bool),
        **{key.replace("__", "/"): np.array(value) for key, value in others.items()},
    }


def test_episodes_of_parallel_environments():
    stats = EpisodeStats(2)
    assert stats.add(transition([0, 0], [1, 1], [0, 0])) == []
    assert stats.add(transition([1, 10], [0, 0], [0, 1])) == [
        {"episode/score": 10.0, "episode/length": 1}
    ]
    assert stats.add(transition([2, 0], [0, 1], [0, 0])) == []
    assert stats.add(transition([3, 20], [0, 0], [1, 1])) == [
        {"episode/score": 6.0, "episode/length": 3},
        {"episode/score": 20.0, "episode/length": 1},
    ]
    assert stats.add(transition([0, 0], [1, 1], [0, 0])) == []
    assert stats.add(transition([5, 0], [0, 0], [1, 0])) == [
        {"episode/score": 5.0, "episode/length": 1}
    ]


def test_partial_episodes_are_left_out():
    stats = EpisodeStats(1)
    # Nothing is known about how this episode began.
    assert stats.add(transition([7], [0], [1])) == []
    stats.add(transition([0], [1], [0]))
    stats.add(transition([9], [0], [0]))
    # The environment was restarted: the nine belong to no whole episode.
    stats.add(transition([0], [1], [0]))
    assert stats.add(transition([2], [0], [1])) == [{"episode/score": 2.0, "episode/length": 1}]
    assert stats.add(transition([3], [0], [1])) == []


def test_an_episode_may_end_with_its_first_step():
    stats = EpisodeStats(1)
    assert stats.add(transition([0], [1], [1])) == [{"episode/score": 0.0, "episode/length": 0}]


def test_scores_are_summed_precisely():
    stats = EpisodeStats(1)
    stats.add(transition([0], [1], [0]))
    for _ in range(100_000):
        stats.add(transition([0.1], [0], [0]))
    (record,) = stats.add(transition([0], [0], [1]))
    assert record["episode/score"] == pytest.approx(100_000 * float(np.float32(0.1)), rel=1e-9)


def test_log_keys_become_epstats_of_each_environment():
    stats = EpisodeStats(2)
    stats.add(transition([0, 0], [1, 1], [0, 0], log__x=[1.0, 10.0], image=[0, 0]))
    stats.add(transition([0, 0], [0, 0], [0, 0], log__x=[np.nan, 30.0], log__deep__y=[True, False]))
    one, two = stats.add(transition([0, 0], [0, 0], [1, 1], log__x=[5.0, 20.0]))
    assert one == {
        "episode/score": 0.0,
        "episode/length": 2,
        "epstats/log/x/avg": 3.0,
        "epstats/log/x/max": 5.0,
        "epstats/log/x/sum": 6.0,
        "epstats/log/deep/y/avg": 1.0,
        "epstats/log/deep/y/max": 1.0,
        "epstats/log/deep/y/sum": 1.0,
    }
    assert two["epstats/log/x/avg"] == 20.0
    stats.add(transition([0, 0], [1, 1], [0, 0], log__x=[2.0, 2.0]))
    again, _ = stats.add(transition([0, 0], [0, 0], [1, 1]))
    assert again["epstats/log/x/sum"] == 2.0
    assert "epstats/log/deep/y/avg" not in again


def test_records_list_logs_in_the_order_in_which_they_came():
    names = [f"log__{letter}" for letter in "qjxzkwvbpgmfy"]
    stats = EpisodeStats(1)
    stats.add(transition([0], [1], [0], **{key: [1.0] for key in names[:5]}))
    (record,) = stats.add(transition([0], [0], [1], **{key: [2.0] for key in names}))
    keys = [f"epstats/{name.replace('__', '/')}/max" for name in names]
    assert [key for key in record if key.endswith("/max")] == keys


def test_log_vectors_count_as_many_values():
    stats = EpisodeStats(1)
    stats.add(transition([0], [1], [0], log__v=[[3.0, 4.0]]))
    (record,) = stats.add(transition([0], [0], [1], log__v=[[1.0, 2.0]]))
    assert record["epstats/log/v/avg"] == 2.5
    assert record["epstats/log/v/max"] == 4.0
    assert record["epstats/log/v/sum"] == 10.0


def test_log_images_become_a_video_of_the_first_environment(monkeypatch):
    monkeypatch.setattr("reverie.track.stats.MAX_FRAMES", 3)
    stats = EpisodeStats(2)

    def step(value, first, last):
        images = np.stack([np.full((4, 5, 3), v, np.uint8) for v in (value, 99)])
        return stats.add(transition([0, 0], first, last, log__view=images))

    step(1, [1, 1], [0, 0])
    (second,) = step(2, [0, 0], [0, 1])
    assert "epstats/log/view" not in second
    step(3, [0, 1], [0, 0])
    (first,) = step(4, [0, 0], [1, 0])
    assert first["epstats/log/view"].shape == (3, 4, 5, 3)
    assert first["epstats/log/view"][:, 0, 0, 0].tolist() == [1, 2, 3]
    step(5, [1, 0], [0, 0])
    (again, _) = step(6, [0, 0], [1, 1])
    assert again["epstats/log/view"][:, 0, 0, 0].tolist() == [5, 6]


def test_layers_that_are_no_colours_are_numbers():
    stats = EpisodeStats(1)
    layers = np.zeros((1, 4, 5, 2), np.uint8)
    layers[..., 1] = 6
    stats.add(transition([0], [1], [0], log__map=layers))
    (record,) = stats.add(transition([0], [0], [1], log__map=layers))
    assert record["epstats/log/map/avg"] == 3
    assert record["epstats/log/map/max"] == 6
    assert "epstats/log/map" not in record


def test_episode_stats_errors():
    stats = EpisodeStats(2)
    with pytest.raises(ValueError, match=r"'reward' has shape \(1,\): expected 2 rows"):
        stats.add(transition([0], [1, 1], [0, 0]))
    with pytest.raises(ValueError, match=r"'log/x' has shape \(\)"):
        stats.add(transition([0, 0], [1, 1], [0, 0], log__x=1.0))
    with pytest.raises(ValueError, match="'log/x' is not numeric"):
        stats.add(transition([0, 0], [1, 1], [0, 0], log__x=["a", "b"]))


def test_sums_of_repeated_steps_are_summed():
    stats = EpisodeStats(1)
    names = ("log/x", "log/x/sum")
    for first, values in ((True, (0, 0)), (False, (3, 5)), (False, (2, 4))):
        logs = {key: np.float32([value]) for key, value in zip(names, values, strict=True)}
        flags = {"is_first": np.array([first]), "is_last": np.array([values[0] == 2])}
        records = stats.add({"reward": np.zeros(1), **flags, **logs})
    (record,) = records
    assert record["epstats/log/x/max"] == 3
    assert record["epstats/log/x/sum"] == 9
    assert not [key for key in record if "sum/" in key]


def test_streams_come_and_go():
    def step(streams, reward, first=False, last=False):
        values = {"reward": np.float32(reward), "is_first": first, "is_last": last}
        return stats.add({k: np.full(len(streams), x) for k, x in values.items()}, streams)

    stats = EpisodeStats(0)
    step([7], 0.0, first=True)
    step([7, 3], 1.0)
    step([3], 0.0, first=True)
    step([3, 7], 2.0)
    assert stats.longest == 2
    (record,) = step([7], 4.0, last=True)
    assert (record["episode/score"], record["episode/length"]) == (7.0, 3)
    (record,) = step([3], 8.0, last=True)
    assert (record["episode/score"], record["episode/length"]) == (10.0, 2)


def test_nothing_is_kept_of_streams_whose_episodes_have_ended():
    def step(stream, **flags):
        flags = {"is_first": False, "is_last": False, "log/x": 1.0, **flags}
        return stats.add({k: np.array([x]) for k, x in {"reward": 1.0, **flags}.items()}, [stream])

    stats = EpisodeStats(0)
    sizes = []
    for stream in range(100):
        step(stream, is_first=True)
        step(stream)
        (record,) = step(stream, is_last=True)
        assert (record["episode/score"], record["epstats/log/x/sum"]) == (3.0, 3.0)
        sizes.append(len(pickle.dumps(stats)))
    assert stats.longest == 0
    assert max(sizes) < min(sizes) + 10
