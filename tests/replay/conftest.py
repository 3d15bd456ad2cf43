"""A small world for the replay tests: every step is told apart by one number."""

import collections
import itertools

import numpy as np
import pytest
from scipy import special

from reverie.replay.files.storage import DiskStorage, RamStorage
from reverie.replay.replay import Replay
from reverie.spaces import Space

SPACES = {
    "obs/image": Space("image", (2, 2, 1), "uint8"),
    "obs/vector": Space("continuous", (2,), "float32"),
    "action": Space("discrete", (), "int32", (1000,)),
    "latent/deter": Space("continuous", (3,), "bfloat16"),
    "latent/stoch": Space("discrete", (2,), "uint8", (4, 4)),
}
LATENTS = ("latent/deter", "latent/stoch")


def make_transition(numbers, is_first=None, is_last=None, is_terminal=None) -> dict:
    """One step of each environment, `[1, N]`; `vector`, `action` and `reward` all name it."""
    numbers = np.asarray(numbers)
    n = len(numbers)
    flag = np.zeros(n, bool)
    columns = {
        "obs/image": np.broadcast_to(numbers[:, None, None, None] % 251, (n, 2, 2, 1)).astype("u1"),
        "obs/vector": np.stack([numbers, -numbers], 1).astype(np.float32),
        "action": numbers.astype(np.int32),
        "reward": numbers.astype(np.float32),
        "is_first": flag if is_first is None else np.asarray(is_first),
        "is_last": flag if is_last is None else np.asarray(is_last),
        "is_terminal": flag if is_terminal is None else np.asarray(is_terminal),
        "latent/deter": np.zeros((n, 3), SPACES["latent/deter"].dtype),
        "latent/stoch": np.zeros((n, 2), np.uint8),
    }
    return {key: column[None] for key, column in columns.items()}


@pytest.fixture
def step():
    """Makes a step: `step([100, 200], is_first=[True, False])` for two environments."""
    return make_transition


@pytest.fixture
def home(tmp_path):
    """Gives each replay that lives on disk a folder of its own."""
    numbers = itertools.count()
    return lambda: tmp_path / f"replay{next(numbers)}"


@pytest.fixture(params=["ram", "disk", "disk, latents in ram", "disk, compressed"])
def storage(request, home):
    """Where chunks live."""
    if request.param == "ram":
        return RamStorage
    compress = request.param == "disk, compressed"
    if compress:
        pytest.importorskip("lz4")
    settings = {"ram": 1_000_000, "latents": 0 if request.param == "disk" else 1_000_000}
    return lambda layout: DiskStorage(layout, home(), **settings, compress=compress)


@pytest.fixture
def make_replay(storage):
    """Makes a small replay and closes it after the test."""
    made = []

    def make(**kwargs) -> Replay:
        settings = {"length": 4, "capacity": 1000, "chunksize": 8, "context": 1, "storage": storage}
        replay = Replay(SPACES, latents=LATENTS, **(settings | kwargs))
        made.append(replay)
        return replay

    yield make
    for replay in made:
        replay.close()


@pytest.fixture
def fill(step):
    """Adds steps numbered 100 * stream + time: `fill(replay, streams, count, start=0)`."""

    def run(replay: Replay, streams: int, count: int, start: int = 0) -> None:
        for t in range(start, start + count):
            numbers = [100 * i + t for i in range(streams)]
            replay.add(step(numbers, is_first=[t == 0] * streams), range(streams))

    return run


@pytest.fixture(scope="session")
def assert_drawn():
    """Compares draws with their probabilities: `assert_drawn(draws, {item: weight})`."""

    def check(draws, weights: dict, chance: float = 1e-6) -> None:
        """Pearson's test; a right distribution fails it in `chance` of all cases."""
        draws, total = list(draws), sum(weights.values())
        counts = collections.Counter(draws)
        possible = {item for item, weight in weights.items() if weight}
        assert counts.keys() <= possible
        # Cells of few expected draws do not follow the distribution of the test: one for them all.
        cells, rest = [], [0.0, 0.0]
        for item in possible:
            expected = len(draws) * weights[item] / total
            if expected < 8:
                rest = [rest[0] + counts[item], rest[1] + expected]
            else:
                cells.append([counts[item], expected])
        cells += [rest] if rest[1] >= 8 else []
        statistic = sum((seen - expected) ** 2 / expected for seen, expected in cells)
        assert special.chdtrc(max(1, len(cells) - 1), statistic) > chance

    return check
