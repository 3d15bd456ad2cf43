"""Replay against a model of it made of lists, under any sequence of operations.

A kill is played by abandoning the replay after its thread has come to rest; a real SIGKILL, which
may hit that thread anywhere, is in `test_archive`.
"""

import collections
import functools
import math
import tempfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reverie.replay import DiskStorage, Mixture, Prioritized, Recency, Replay, Uniform
from reverie.replay.files.storage import RamStorage
from reverie.spaces import Space

SPACES = {
    "image": Space("image", (4, 4, 1), "uint8"),
    "number": Space("discrete", (), "int32", (1 << 20,)),
    "latent/x": Space("continuous", (2,), "float32"),
}
CONTEXT = 2
EXPONENT, MAXFRAC = 0.5, 0.25
SELECTORS = {
    "uniform": {"uniform": 1.0},
    "recency": {"recency": 1.0},
    "priority": {"priority": 1.0},
    "zeroed": {"zeroed": 1.0},
    "mixture": {"uniform": 0.25, "recency": 0.25, "priority": 0.5},
}


class Model:
    """Streams as lists of steps; chunks as [stream, first, last, durable] in order of creation."""

    def __init__(self, length, capacity, chunksize, online, recording):
        self.length, self.capacity, self.chunksize = length, capacity, chunksize
        self.use_online = online
        # Whether finished chunks are written: before its first save a replay in RAM has no folder.
        self.recording = recording
        self.saved_queue = []
        self.streams = []
        self.open = []
        self.chunks = []
        self.queue = []
        # What the latents of each step may be: after a kill anything that they have been.
        self.latents = {}
        self.history = {}
        self.priorities = {}
        self.saved_priorities = {}
        self.order = []
        self.count = 0

    def begin(self, envs):
        self.rows = max(1, min(self.chunksize, (self.capacity // envs - self.length) // 4))
        self.open = list(range(len(self.streams), len(self.streams) + envs))
        self.streams += [[] for _ in range(envs)]

    def add(self, firsts):
        for stream, first in zip(self.open, firsts, strict=True):
            steps = self.streams[stream]
            if len(steps) % self.rows == 0:
                if self.recording:
                    self.finish(stream)
                self.chunks.append([stream, len(steps), len(steps), 0])
            chunk = [c for c in self.chunks if c[0] == stream][-1]
            chunk[2] += 1
            steps.append((self.count, first))
            self.latents[self.count] = {float(self.count)}
            self.history[self.count] = {float(self.count)}
            self.priorities[self.count] = math.inf
            self.count += 1
        for stream in self.open:
            start = len(self.streams[stream]) - self.length
            if start >= 0:
                self.order.append((stream, start))
            if self.use_online and start >= 0 and start % self.length == 0:
                self.queue.append((stream, start))
        while self.steps() > self.capacity:
            self.chunks.pop(0)

    def finish(self, stream):
        for chunk in self.chunks:
            if chunk[0] == stream:
                chunk[3] = chunk[2] - chunk[1]

    def save(self):
        for stream in range(len(self.streams)):
            self.finish(stream)
        alive = set(self.drawable())
        self.saved_queue = [start for start in self.queue if start in alive]
        self.saved_priorities = {n: self.priorities[n] for n in self.live()}
        self.recording = True

    def kill(self):
        self.chunks = [chunk for chunk in self.chunks if chunk[3]]
        for chunk in self.chunks:
            stream, first, last, durable = chunk
            chunk[2] = first + durable
            if chunk[2] < last:
                del self.streams[stream][chunk[2] :]
        for stream, steps in enumerate(self.streams):
            ends = [last for s, _, last, _ in self.chunks if s == stream]
            del steps[max(ends, default=0) :]
        self.queue, self.open, self.recording = list(self.saved_queue), [], True
        drawable = set(self.drawable())
        self.order = [start for start in self.order if start in drawable]
        # A step that the last save did not know has no priority.
        self.priorities = {n: self.saved_priorities.get(n, math.inf) for n in self.live()}

    def steps(self):
        return sum(last - first for _, first, last, _ in self.chunks)

    def drawable(self):
        return [
            (stream, at)
            for stream, first, last, _ in self.chunks
            for at in range(first, last)
            if at + self.length <= len(self.streams[stream])
        ]

    def live(self):
        return {self.streams[s][at][0] for s, first, last, _ in self.chunks
                for at in range(first, last)}  # fmt: skip

    def numbers(self, start):
        """Of the steps of a sequence that are trained."""
        stream, at = start
        return [n for n, _ in self.streams[stream][at + CONTEXT : at + self.length]]

    def chances(self, selector):
        """Probability of every sequence."""
        drawable, chances = self.drawable(), collections.Counter()
        ages = {start: len(self.order) - i for i, start in enumerate(self.order)}
        weights = {
            "uniform": dict.fromkeys(drawable, 1.0),
            "recency": {start: 1 / ages[start] for start in drawable},
            "priority": self.weights(drawable),
        }
        weights["zeroed"] = weights["priority"]
        for name, share in SELECTORS[selector].items():
            total = sum(weights[name].values())
            for start, weight in weights[name].items():
                chances[start] += share * weight / total
        return chances

    def weights(self, drawable):
        weights = {}
        for start in drawable:
            steps = [self.priorities[n] ** EXPONENT for n in self.numbers(start)]
            weights[start] = MAXFRAC * max(steps) + (1 - MAXFRAC) * sum(steps) / len(steps)
        if math.inf in weights.values():
            return {start: float(weight == math.inf) for start, weight in weights.items()}
        return weights if any(weights.values()) else dict.fromkeys(drawable, 1.0)

    def pop_online(self, most):
        alive = set(self.drawable())
        self.queue = [start for start in self.queue if start in alive]
        taken, self.queue = self.queue[:most], self.queue[most:]
        return taken

    def sequence(self, start):
        """Numbers, is_first and is_last of the sequence."""
        stream, at = start
        steps = self.streams[stream][at : at + self.length + 1]
        firsts = [first for _, first in steps]
        lasts = [*firsts[1:], False][: self.length]
        return [n for n, _ in steps[: self.length]], [True, *firsts[1 : self.length]], lasts


def make_selector(name):
    prioritized = functools.partial(
        Prioritized, exponent=EXPONENT, maxfrac=MAXFRAC, context=CONTEXT
    )
    parts = {
        "uniform": Uniform,
        "recency": Recency,
        "priority": functools.partial(prioritized, zero_on_sample=False),
        "zeroed": prioritized,
    }
    shares = SELECTORS[name]
    if len(shares) == 1:
        return parts[name]()
    return Mixture({part: (parts[part](), share) for part, share in shares.items()})


def make(sizes, selector, seed, storage):
    length, capacity, chunksize, online = sizes
    return Replay(SPACES, length=length, capacity=capacity, chunksize=chunksize, context=CONTEXT,
                  latents=("latent/x",), online=online, selector=make_selector(selector),
                  seed=seed, storage=storage)  # fmt: skip


def image_of(numbers):
    """Images `[*numbers.shape, 4, 4, 1]` that tell steps apart."""
    image = (np.asarray(numbers) % 251).astype(np.uint8)[..., None, None, None]
    return np.broadcast_to(image, (*image.shape[:-3], 4, 4, 1))


def add(replay, model, firsts):
    numbers = np.arange(model.count, model.count + len(firsts))
    replay.add({
        "image": image_of(numbers),
        "number": numbers.astype(np.int32),
        "latent/x": np.repeat(numbers[:, None], 2, 1).astype(np.float32),
        "reward": np.zeros(len(firsts), np.float32),
        "is_first": np.array(firsts),
        "is_last": np.zeros(len(firsts), bool),
        "is_terminal": np.zeros(len(firsts), bool),
    })  # fmt: skip
    model.add(firsts)


def compare(replay, model, selector, assert_drawn):
    """What is drawn how often; leaves no trace."""
    drawable = {tuple(model.sequence(start)[0]): start for start in model.drawable()}
    if drawable:
        probe, _ = replay.gather(replay.plan(1500, probe=np.random.default_rng(model.count)))
        chosen = [drawable[tuple(row)] for row in probe["number"].tolist()]
        assert_drawn(chosen, model.chances(selector), chance=1e-10)


def draw(replay, model, selector, count, assert_drawn):
    drawable = {tuple(model.sequence(start)[0]): start for start in model.drawable()}
    if not drawable:
        return None
    compare(replay, model, selector, assert_drawn)
    expected = model.pop_online(count)
    plan = replay.plan(count)
    batch, ids = replay.gather(plan)
    starts = [drawable[tuple(row)] for row in batch["number"].tolist()]
    np.testing.assert_array_equal(batch["image"], image_of(batch["number"]))
    assert int(plan.online.sum()) == len(expected)
    assert starts[: len(expected)] == expected
    for i, start in enumerate(starts):
        numbers, firsts, lasts = model.sequence(start)
        assert batch["is_first"][i].tolist() == firsts
        assert batch["is_last"][i].tolist() == lasts
        for number, (one, other) in zip(numbers, batch["latent/x"][i].tolist(), strict=False):
            assert one == other
            assert one in model.latents[number]
        if selector == "zeroed" and i >= len(expected):
            model.priorities |= dict.fromkeys(model.numbers(start), 0.0)
    return batch["number"], ids


def update(replay, model, drawn, value):
    numbers, ids = drawn
    skip = value % 3
    latents = np.full((*ids[:, skip:].shape, 2), value, np.float32)
    priorities = (numbers[:, skip:] * value % 7).astype(np.float32)
    replay.update(ids[:, skip:], {"latent/x": latents}, priorities)
    live = model.live()
    changed = set(numbers[:, skip:].ravel().tolist()) & live
    for number in changed:
        model.latents[number] = {float(value)}
        model.history[number].add(float(value))
        model.priorities[number] = float(number * value % 7)


def reload(replay, model, sizes, selector, folder, storage, kill):
    if not kill:
        replay.save(folder).wait()
        model.save()
    replay.close()
    model.kill()
    if kill:
        model.latents |= model.history
    if selector == "zeroed":
        # What waits for an update would wait for ever.
        waiting = [n for n, priority in model.priorities.items() if not priority]
        model.priorities |= dict.fromkeys(waiting, math.inf)
    other = make(sizes, selector, seed=1, storage=storage)
    loaded = other.load(folder)
    assert (loaded.steps, loaded.damaged) == (model.steps(), ())
    return other


def storage_of(kind, folder):
    if kind == "ram":
        return RamStorage
    settings = {"latents": 0 if kind == "disk" else 1_000_000, "compress": "compressed" in kind}
    return functools.partial(DiskStorage, folder=folder, ram=1_000_000, **settings)


FLAGS = st.lists(st.booleans(), min_size=3, max_size=3)
OPERATIONS = st.one_of(
    st.tuples(st.just("add"), st.lists(FLAGS, min_size=1, max_size=25)),
    st.tuples(st.just("draw"), st.integers(1, 6)),
    st.tuples(st.just("update"), st.integers(2_000_000, 2_000_100)),
    st.tuples(st.just("save"), st.none()),
    st.tuples(st.sampled_from(["reload", "kill"]), st.integers(1, 3)),
)
# Rare among random ones: priorities that are saved, and others that a kill costs.
STEPS = ("add", [[False] * 3] * 20)
RESUMED = [STEPS, ("update", 2_000_001), ("reload", 1), STEPS, ("update", 2_000_002), ("kill", 1)]
SIZES = st.tuples(st.integers(3, 9), st.integers(30, 90), st.integers(1, 12), st.booleans())


@pytest.mark.parametrize("kind", ["ram", "disk", "disk, latents in ram", "disk, compressed"])
@settings(deadline=None, max_examples=60)
@given(
    sizes=SIZES,
    selector=st.sampled_from(sorted(SELECTORS)),
    envs=st.integers(1, 3),
    operations=st.lists(OPERATIONS, max_size=25),
)
@example(sizes=(4, 60, 5, False), selector="priority", envs=1, operations=RESUMED)
@example(sizes=(4, 60, 5, False), selector="zeroed", envs=1, operations=RESUMED)
def test_replay_does_what_lists_do(assert_drawn, kind, sizes, selector, envs, operations):
    if "compressed" in kind:
        pytest.importorskip("lz4")
    with tempfile.TemporaryDirectory() as folder:
        storage = storage_of(kind, folder)
        model = Model(*sizes, recording=kind != "ram")
        replay, drawn = make(sizes, selector, 0, storage), None
        for name, value in operations:
            if name == "add":
                if not model.open:
                    model.begin(envs)
                for firsts in value:
                    add(replay, model, firsts[:envs])
            elif name == "draw":
                drawn = draw(replay, model, selector, value, assert_drawn) or drawn
            elif name == "update":
                drawn = drawn or draw(replay, model, selector, 3, assert_drawn)
                if drawn is not None:
                    update(replay, model, drawn, value)
            elif name == "save":
                replay.save(folder).wait()
                model.save()
            elif name in ("reload", "kill"):
                # The environments of the next run may be more or fewer.
                kill = name == "kill"
                replay = reload(replay, model, sizes, selector, folder, storage, kill)
                envs, drawn = value, None
                compare(replay, model, selector, assert_drawn)
            assert replay.stats()["steps"] == model.steps()
            assert len(replay) == len(model.drawable())
        replay.close()
