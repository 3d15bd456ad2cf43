"""Replay against a model of it made of lists, under any sequence of operations.

A kill is played by abandoning the replay after its thread has come to rest; a real SIGKILL, which
may hit that thread anywhere, is in `test_archive`.
"""

import collections
import copy
import dataclasses
import functools
import math
import tempfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from write_back import write_back

from reverie.replay.files.storage import DiskStorage, RamStorage
from reverie.replay.replay import Replay
from reverie.replay.selectors.mixture import Mixture
from reverie.replay.selectors.prioritized import Prioritized
from reverie.replay.selectors.recency import Recency
from reverie.replay.selectors.uniform import Uniform
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


@dataclasses.dataclass
class Chunk:
    """Steps `first .. last-1` of a stream; as many as `durable` survive a kill."""

    stream: int
    name: int
    first: int
    last: int
    rows: int
    durable: int = 0


class Model:
    """Streams as lists of steps, numbered as they begin; chunks in the order of their creation.

    Attributes:
        open: Number of the stream that goes on under a name, which replay calls its id.
        order: Where sequences start, in the order in which they got complete.
    """

    def __init__(self, length, capacity, chunksize, online, recording):
        self.length, self.capacity, self.chunksize = length, capacity, chunksize
        self.use_online = online
        # Whether finished chunks are written: before its first save a replay in RAM has no folder.
        self.recording = recording
        self.saved_queue = []
        self.streams = []
        self.open = {}
        self.chunks = []
        self.queue = []
        # What the latents of each step may be: after a kill anything that they have been.
        self.latents = {}
        self.history = {}
        self.priorities = {}
        self.saved_priorities = {}
        self.order = []
        self.count = 0

    def add(self, names, firsts):
        """One step of each of these streams."""
        for name, first in zip(names, firsts, strict=True):
            self.append(name, bool(first), len(self.open.keys() | names))
        for stream in [self.open[name] for name in names]:
            start = len(self.streams[stream]) - self.length
            if start >= min(chunk.first for chunk in self.chunks if chunk.stream == stream):
                self.order.append((stream, start))
                if self.use_online and start % self.length == 0:
                    self.queue.append((stream, start))
        while self.steps() > self.capacity:
            gone, *self.chunks = self.chunks
            if gone.stream == self.open.get(gone.name) and gone.stream not in self.newest:
                del self.open[gone.name]

    def append(self, name, first, num):
        if name not in self.open:
            self.open[name] = len(self.streams)
            self.streams.append([])
        stream = self.open[name]
        steps, chunk = self.streams[stream], self.newest.get(stream)
        if chunk is None or chunk.last - chunk.first == chunk.rows:
            if self.recording:
                self.finish(stream)
            rows = max(1, min(self.chunksize, (self.capacity // num - self.length) // 4))
            chunk = Chunk(stream, name, len(steps), len(steps), rows)
            self.chunks.append(chunk)
        chunk.last += 1
        steps.append((self.count, first))
        self.latents[self.count] = {float(self.count)}
        self.history[self.count] = {float(self.count)}
        self.priorities[self.count] = math.inf
        self.count += 1

    def end(self, name):
        stream = self.open.pop(name, None)
        if self.recording:
            self.finish(stream)

    @property
    def newest(self):
        """The last chunk of each stream."""
        return {chunk.stream: chunk for chunk in self.chunks}

    def finish(self, stream):
        for chunk in self.chunks:
            if chunk.stream == stream:
                chunk.durable = chunk.last - chunk.first

    def save(self):
        for stream in range(len(self.streams)):
            self.finish(stream)
        alive = set(self.drawable())
        self.saved_queue = [start for start in self.queue if start in alive]
        self.saved_priorities = {n: self.priorities[n] for n in self.live()}
        self.recording = True

    def kill(self):
        self.chunks = [chunk for chunk in self.chunks if chunk.durable]
        for chunk in self.chunks:
            chunk.last = chunk.first + chunk.durable
        for stream, steps in enumerate(self.streams):
            ends = [chunk.last for chunk in self.chunks if chunk.stream == stream]
            del steps[max(ends, default=0) :]
        self.queue, self.open, self.recording = list(self.saved_queue), {}, True
        self.order = self.loaded_order()
        # A step that the last save did not know has no priority.
        self.priorities = {n: self.saved_priorities.get(n, math.inf) for n in self.live()}

    def loaded_order(self):
        """Nobody knows any more how steps came in turn: chunks that follow one another, of names
        that ascend, are taken for those of streams that were equally fast."""
        order, group, drawable = [], [], set(self.drawable())
        for chunk in [*self.chunks, None]:
            if chunk is None or (group and chunk.name <= group[-1].name):
                found = [
                    (at - c.first, c.stream, at) for c in group for at in range(c.first, c.last)
                ]
                found.sort(key=lambda entry: entry[0])
                order += [(stream, at) for _, stream, at in found if (stream, at) in drawable]
                group = []
            group.append(chunk)
        return order

    def steps(self):
        return sum(chunk.last - chunk.first for chunk in self.chunks)

    def drawable(self):
        return [
            (chunk.stream, at)
            for chunk in self.chunks
            for at in range(chunk.first, chunk.last)
            if at + self.length <= len(self.streams[chunk.stream])
        ]

    def live(self):
        return {
            self.streams[chunk.stream][at][0]
            for chunk in self.chunks
            for at in range(chunk.first, chunk.last)
        }

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


def add(replay, model, names, times, pattern):
    """Some steps at once; an episode begins where the pattern has a bit."""
    size = times, len(names)
    numbers = model.count + np.arange(times * len(names)).reshape(size)
    firsts = (pattern >> (np.arange(numbers.size) % 8).reshape(size)) & 1 > 0
    replay.add(
        {
            "image": image_of(numbers),
            "number": numbers.astype(np.int32),
            "latent/x": np.repeat(numbers[..., None], 2, 2).astype(np.float32),
            "reward": np.zeros(size, np.float32),
            "is_first": firsts,
            "is_last": np.zeros(size, bool),
            "is_terminal": np.zeros(size, bool),
        },
        names,
    )
    for row in firsts:
        model.add(names, row)


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
    write_back(replay, ids[:, skip:], {"latent/x": latents}, priorities)
    live = model.live()
    changed = set(numbers[:, skip:].ravel().tolist()) & live
    for number in changed:
        model.latents[number] = {float(value)}
        model.history[number].add(float(value))
        model.priorities[number] = float(number * value % 7)


def revive(model, selector):
    """What waits for an update would wait for ever."""
    if selector == "zeroed":
        waiting = [n for n, priority in model.priorities.items() if not priority]
        model.priorities |= dict.fromkeys(waiting, math.inf)


def reload(replay, model, sizes, selector, folder, storage, kill):
    if not kill:
        replay.save(folder).wait()
        model.save()
    replay.close()
    model.kill()
    if kill:
        model.latents |= model.history
    revive(model, selector)
    other = make(sizes, selector, seed=1, storage=storage)
    loaded = other.load(folder)
    assert (loaded.steps, loaded.damaged) == (model.steps(), ())
    return other


def storage_of(kind, folder):
    if kind == "ram":
        return RamStorage
    settings = {"latents": 0 if kind == "disk" else 1_000_000, "compress": "compressed" in kind}
    return functools.partial(DiskStorage, folder=folder, ram=1_000_000, **settings)


def rewind(replay, model, marked, sizes, selector, folder, storage):
    """A kill, and a start from the marked save: exactly, as long as its chunks are there."""
    replay.close()
    other = make(sizes, selector, seed=1, storage=storage)
    loaded = other.load(folder, "mark")
    live = {(chunk.stream, chunk.first) for chunk in model.chunks}
    assert loaded.exact == all((chunk.stream, chunk.first) in live for chunk in marked.chunks)
    if loaded.exact:
        latents = {number: model.history[number] for number in marked.latents}
        model = copy.deepcopy(marked)
        # Whatever was written of the steps that are there may be what comes back.
        model.latents, model.history = latents, copy.deepcopy(latents)
    else:
        model.kill()
        model.latents |= model.history
        revive(model, selector)
    assert (loaded.steps, loaded.damaged) == (model.steps(), ())
    # Chunks that were written since go with the next save.
    other.save(folder).wait()
    model.save()
    return other, model


ROLLOUTS = st.tuples(
    st.one_of(st.just([0, 1, 2]), st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True)),
    st.integers(1, 25),
    st.integers(0, 255),
)
OPERATIONS = st.one_of(
    st.tuples(st.just("add"), st.lists(ROLLOUTS, min_size=1, max_size=4)),
    st.tuples(st.just("end"), st.integers(0, 4)),
    st.tuples(st.just("draw"), st.integers(1, 6)),
    st.tuples(st.just("update"), st.integers(2_000_000, 2_000_100)),
    st.tuples(st.sampled_from(["save", "mark", "rewind", "reload", "kill"]), st.none()),
)
# Rare among random ones: priorities that are saved, and others that a kill costs; streams that are
# so slow that their open chunk is evicted, and streams that a restart goes on with.
STEPS = ("add", [([0], 20, 0)])
RESUMED = [STEPS, ("update", 2_000_001), ("reload", 1), STEPS, ("update", 2_000_002), ("kill", 1)]
SLOW = [("add", [([0, 1], 1, 0), *[([0], 9, 4), ([1], 1, 1)] * 3, ([0], 25, 0), ([1], 9, 0)])]
MARKED = [*SLOW, ("end", 0), ("mark", 0), ("add", [([1, 0], 5, 1)]), ("rewind", 0), *SLOW]
SIZES = st.tuples(st.integers(3, 9), st.integers(30, 90), st.integers(1, 12), st.booleans())
RARE = [
    ((4, 60, 5, False), "priority", RESUMED),
    ((4, 60, 5, False), "zeroed", RESUMED),
    ((4, 30, 5, True), "recency", MARKED),
    ((4, 80, 5, True), "mixture", MARKED),
]


def tried(examples):
    """The rare ones, and random ones."""

    def decorate(test):
        for sizes, selector, operations in RARE:
            test = example(sizes=sizes, selector=selector, operations=operations)(test)
        selector, operations = st.sampled_from(sorted(SELECTORS)), st.lists(OPERATIONS, max_size=25)
        test = given(sizes=SIZES, selector=selector, operations=operations)(test)
        test = settings(deadline=None, max_examples=examples)(test)
        kinds = ["ram", "disk", "disk, latents in ram", "disk, compressed"]
        return pytest.mark.parametrize("kind", kinds)(test)

    return decorate


def check(assert_drawn, kind, sizes, selector, operations):
    if "compressed" in kind:
        pytest.importorskip("lz4")
    with tempfile.TemporaryDirectory() as folder:
        storage = storage_of(kind, folder)
        model, marked = Model(*sizes, recording=kind != "ram"), None
        replay, drawn = make(sizes, selector, 0, storage), None
        for name, value in operations:
            if name == "add":
                for rollout in value:
                    add(replay, model, *rollout)
            elif name == "end":
                replay.end(value)
                model.end(value)
            elif name == "draw":
                drawn = draw(replay, model, selector, value, assert_drawn) or drawn
            elif name == "update":
                drawn = drawn or draw(replay, model, selector, 3, assert_drawn)
                if drawn is not None:
                    update(replay, model, drawn, value)
            elif name in ("save", "mark"):
                replay.save(folder, "mark" if name == "mark" else "").wait()
                model.save()
                marked = copy.deepcopy(model) if name == "mark" and model.chunks else None
            elif name == "rewind" and marked:
                context = sizes, selector, folder, storage
                replay, model = rewind(replay, model, marked, *context)
                marked = drawn = None
                compare(replay, model, selector, assert_drawn)
            elif name in ("reload", "kill"):
                kill = name == "kill"
                replay = reload(replay, model, sizes, selector, folder, storage, kill)
                marked = drawn = None
                compare(replay, model, selector, assert_drawn)
            stats = replay.stats()
            assert (stats["steps"], stats["streams"]) == (model.steps(), len(model.open))
            assert len(replay) == len(model.drawable())
        replay.close()


@tried(15)
def test_replay_does_what_lists_do(assert_drawn, kind, sizes, selector, operations):
    check(assert_drawn, kind, sizes, selector, operations)


@pytest.mark.slow
@tried(200)
def test_replay_does_what_lists_do_for_long(assert_drawn, kind, sizes, selector, operations):
    check(assert_drawn, kind, sizes, selector, operations)
