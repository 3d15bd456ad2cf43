"""What `scale.py measure` does: real actors in a local Ray, and what they take of the learner."""

import functools
import pathlib
import sys
import tempfile
import time

import cloudpickle
import gymnasium
import numpy as np
import psutil

import reverie
from reverie.actors.cluster.chunk import Chunk
from reverie.actors.cluster.engine.package import import_ray
from reverie.actors.collector import Rollout
from reverie.replay.chunk import Layout
from reverie.replay.replay import Replay
from reverie.replay.shards.apart import Apart, parted
from reverie.spaces import Space
from reverie.track.stats import EpisodeStats

# Actors have no such module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

SECONDS = 0.020
"""Of a step of the environment, which sleeps."""


class Slow(gymnasium.Env):
    """Sleeps in every step; an episode has 100 of them."""

    observation_space = gymnasium.spaces.Box(0, 1, (8,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return np.zeros(8, np.float32), {}

    def step(self, action):
        time.sleep(SECONDS)
        self.time += 1
        return np.full(8, self.time / 100, np.float32), 1.0, self.time == 100, False, {}


def actors(counts: list[int], steps: int, ratio: float, shards: int) -> None:
    """Prints steps and updates per second by number of actors, each with one environment.

    Args:
        counts: Numbers of actors.
        steps: Of a run, per actor, after all of them have started.
        ratio: `run.train_ratio` of the debug agent, with 16 steps per batch.
        shards: As `ray.replay_shards`.
    """
    print("| actors | steps/s | of linear | updates/s | asked for | waiting | ahead | lag |")
    print("|---|---|---|---|---|---|---|---|")
    one = 0.0
    for count in counts:
        rate, updates, told = _run(count, steps, ratio, shards)
        one = one or rate / count
        print(
            f"| {count} | {rate:.1f} | {rate / count / one:.1%} | {updates:.1f} "
            f"| {rate * ratio / 16:.1f} | {told['time/environment']:.0%} "
            f"| {told['actors/ahead']:.0%} | {told['actors/lag']:.1f} |",
            flush=True,
        )


class Quick(Slow):
    """Takes no time, and gives an image."""

    observation_space = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return np.zeros((64, 64, 3), np.uint8), {}

    def step(self, action):
        self.time += 1
        return np.full((64, 64, 3), self.time, np.uint8), 1.0, self.time == 100, False, {}


def inference(actors: int = 4, turns: int = 2, seconds: float = 12.0) -> None:
    """Prints steps per second by who chooses actions, and the memory of an actor; in turns.

    Args:
        actors: Each with one environment that takes no time, or 20 ms; the learner has next to
            nothing to do.
        turns: Of each.
        seconds: Of each turn.
    """
    print("| agent | environment | inference | steps/s of each turn | actors at once | an actor |")
    print("|---|---|---|---|---|---|")
    for size in ("debug", "size12m"):
        for env in (Quick, Slow):
            found = {who: [_acting(env, size, who, actors, seconds)] for who in ("actor", "server")}
            for _ in range(turns - 1):
                for who, results in found.items():
                    results.append(_acting(env, size, who, actors, seconds))
            for who, results in found.items():
                rates = ", ".join(f"{rate:.0f}" for rate, *_ in results)
                _, batch, memory = results[-1]
                print(
                    f"| {size} | {env.__name__} | {who} | {rates} | {batch:.1f} "
                    f"| {memory / 1e6:.0f} MB |",
                    flush=True,
                )


def _acting(env, size: str, who: str, count: int, seconds: float) -> tuple[float, float, float]:
    """Steps per second, actors acted for at once, and memory that only one actor has."""
    marks: list[tuple[float, int]] = []
    told: dict[str, float] = {}

    def look(run) -> None:
        now = time.monotonic()
        if not marks and len(run.replay.open_streams()) == count and run.updates:
            run.collector.metrics()
            marks.append((now, run.steps))
        elif len(marks) == 1 and now > marks[0][0] + seconds:
            marks.append((now, run.steps))
            told.update(run.collector.metrics())
            everything = psutil.Process().children(recursive=True)
            each = [x.memory_full_info().uss for x in everything if "EnvActor" in x.name()]
            told["memory"] = sum(each) / len(each)
            run.shutdown.late = lambda: True

    with tempfile.TemporaryDirectory() as folder:
        options = {
            "logdir": pathlib.Path(folder) / "run",
            "logger.outputs": [],
            "batch_size": 1,
            "batch_length": 4,
            "report_length": 4,
            "agent.imag_length": 4,
            "replay.size": 1e4,
            "run.envs": 1,
            "run.steps": 10**6,
            "run.train_ratio": 0.002,
            "run.debug": False,
            "run.report_every": 0,
            "run.save_every": 0,
            "run.log_every": 1e6,
            "run.env_backend": "sync",
            "jax.platform": "cpu",
            "jax.devices": [0],
            "ray.actors": count,
            "ray.inference": who,
        }
        reverie.train(env, [size, "parallel"], callbacks=[look], **options)
    (begin, before), (end, after) = marks
    return (after - before) / (end - begin), told.get("actors/batch", 1.0), told["memory"]


def _run(count: int, steps: int, ratio: float, shards: int) -> tuple[float, float, dict]:
    """Steps and updates per second while all actors work, and the metrics of that time."""
    marks: list[np.ndarray] = []
    told: dict[str, float] = {}

    def look(run) -> None:
        mark = np.array([time.monotonic(), run.steps, run.updates, run.spent["environment"]])
        if not marks and len(run.replay.open_streams()) == count and run.updates > 20:
            run.collector.metrics()
            marks.append(mark)
        elif len(marks) == 1 and run.steps >= marks[0][1] + steps * count:
            marks.append(mark)
            told.update(run.collector.metrics())
            run.shutdown.late = lambda: True

    with tempfile.TemporaryDirectory() as folder:
        options = {
            "logdir": pathlib.Path(folder) / "run",
            "logger.outputs": [],
            "run.envs": 1,
            "run.steps": 10**6,
            "run.train_ratio": ratio,
            "run.debug": False,
            "run.report_every": 0,
            "run.save_every": 0,
            "run.log_every": 1e6,
            "ray.actors": count,
            "ray.replay_shards": shards,
        }
        reverie.train(Slow, ["debug", "parallel"], callbacks=[look], **options)
    seconds, made, updates, waited = (marks[1] - marks[0]).tolist()
    told["time/environment"] = waited / seconds
    return made / seconds, updates / seconds, told


def service(envs: int = 8, length: int = 16, count: int = 200) -> None:
    """Prints what a step takes of the learner, and its bytes, by kind of observation."""
    ray = import_ray()
    ray.init(num_cpus=2, include_dashboard=False, configure_logging=False, log_to_driver=False)
    print("| steps | replay | receive, us | store, us | statistics, us | bytes | on the wire |")
    print("|---|---|---|---|---|---|---|")
    for name, shape, dtype in (("vector", (8,), "float32"), ("image", (64, 64, 3), "uint8")):
        kind = "image" if len(shape) == 3 else "continuous"
        spaces = {
            "obs": Space(kind, shape, dtype),
            "action": Space("discrete", (), "int32", (4,)),
            "latent/deter": Space("continuous", (256,), "float32"),
        }
        layout = Layout(spaces, ["latent/deter"])
        flags = ("is_first", "is_last", "is_terminal")
        steps = {
            key: np.ones((length, envs, *rest), kind) for key, (kind, rest) in layout.specs.items()
        } | {key: np.zeros((length, envs), bool) for key in flags}
        for apart in (False, True):
            _service(ray, name, layout, spaces, steps, count, apart)
    ray.shutdown()


def _service(ray, name, layout, spaces, steps, count, apart) -> None:
    size = steps["is_first"].size

    @ray.remote(num_cpus=0)
    class Source:
        def make(self, number):
            seen, stored = parted(steps)
            chunk = Chunk(seen if apart else steps, 1 << 16, number, 0)
            return (chunk, stored) if apart else chunk

    source = Source.remote()
    calls = []
    for number in range(count):
        call = source.make.options(num_returns=2 if apart else 1).remote(number)
        calls.append(call if apart else [call])
    ray.wait([call[-1] for call in calls], num_returns=count)
    replay = _replay(layout, spaces, apart)
    statistics = EpisodeStats(0)
    spent, least = np.zeros(3), np.full(3, np.inf)
    for call in calls:
        times = [time.perf_counter()]
        chunk = ray.get(call[0])
        times.append(time.perf_counter())
        replay.add(Apart(chunk.steps, call[-1]) if apart else chunk.steps, chunk.streams)
        times.append(time.perf_counter())
        rollout = Rollout(chunk.steps, chunk.streams)
        [statistics.add(row, rollout.streams) for row in rollout.rows()]
        times.append(time.perf_counter())
        spent += np.diff(times)
        least = np.minimum(least, np.diff(times))
    replay.close()
    ray.kill(source)
    mean = " | ".join(
        f"{1e6 * each / size / count:.1f} (least {1e6 * low / size:.1f})"
        for each, low in zip(spent, least, strict=True)
    )
    wire = len(cloudpickle.dumps(Chunk(steps, 1 << 16, 0, 0))) / size
    kind = "one shard" if apart else "here"
    print(f"| {name} | {kind} | {mean} | {layout.nbytes():,} | {wire:,.0f} |", flush=True)


def _replay(layout, spaces, apart):
    options = {"length": 65, "capacity": 10**5, "chunksize": 1024, "latents": layout.latents}
    if not apart:
        return Replay(spaces, **options)
    from reverie.replay.shards.sharded import ShardedReplay

    folder = pathlib.Path(tempfile.mkdtemp())
    return ShardedReplay(
        layout,
        length=65,
        context=1,
        makes=[cloudpickle.dumps(functools.partial(Replay, spaces, **options))],
        place=(sys.path, "."),
        folders=[folder / "shard-0"],
        witness=folder,
        options={"num_cpus": 0},
    )
