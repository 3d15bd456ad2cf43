"""Speed of drawing by priority, by recency and by mixtures, whatever the number of sequences.

    python benchmarks/replay_selectors.py [--items 10000 1000000 10000000] [--seconds 2] [--json]

For every number of items (sequences of 65 steps, streams of 16 environments): `NAME_draw_us` of 16
draws, those by priority with the zeroing of what was drawn, and `NAME_update_us`, from the ids of a
batch of 16 x 64 steps and their new priorities to the new weights. `mixture_batches_s` are batches
of 64x64x3 images and size1m latents drawn half uniformly and half by priority, with up to a million
items; their chunks share 0.4 GB of memory, which is beyond all caches and still fits a laptop.
`mixture_cycles_s` are the same with a priority update after every batch. All times are
medians of processor time, so that other programs on the core are not measured; `memcpy_batches_s`
are plain copies of the bytes of a batch, measured in the same way.
"""

import argparse
import itertools
import json
import time

import numpy as np
from replay import BATCH, ENVS, LATENTS, LENGTH, median, spaces, transition, write_back

from reverie.replay.chunk import Chunk, Layout
from reverie.replay.files.storage import RamStorage
from reverie.replay.index import Index
from reverie.replay.replay import Replay
from reverie.replay.selectors.base import Selector
from reverie.replay.selectors.mixture import Mixture
from reverie.replay.selectors.prioritized import Prioritized
from reverie.replay.selectors.recency import Recency
from reverie.replay.selectors.uniform import Uniform
from reverie.replay.writeback import locate

ROWS = 1024


def pool(layout: Layout) -> RamStorage:
    """A storage whose chunks are the same 32 blocks again and again."""
    blocks = [layout.empty(ROWS) for _ in range(32)]
    for block in blocks:
        for array in block.values():
            array[:] = 0
    order = itertools.cycle(blocks)
    layout.empty = lambda rows: {key: array[:rows] for key, array in next(order).items()}
    return RamStorage(layout)


def _ids(chunk: Chunk, offset: int) -> np.ndarray:
    """Ids of the steps of a sequence."""
    pieces = chunk.walk(offset, LENGTH)
    return np.concatenate([np.arange(p.chunk.id + p.start, p.chunk.id + p.stop) for p in pieces])


def make_index(selector: Selector, items: int) -> Index:
    """Streams of chunks without data."""
    index = Index(selector, LENGTH, 1 << 60, ROWS, False)
    flags = np.zeros(ROWS, bool)
    last: list[Chunk | None] = [None] * ENVS
    for serial in range(-(-items // ROWS)):
        stream = serial % ENVS
        last[stream] = chunk = Chunk(serial, stream, {"is_first": flags}, last[stream])
        chunk.filled = ROWS
        index.table.insert(chunk)
    index.connect(())
    return index


def give_priorities(index: Index, rng: np.random.Generator) -> None:
    """To all steps: none is new."""
    if index.taking is None:
        return
    for chunk in index.table:
        values = rng.random(chunk.filled, np.float32) + np.float32(0.1)
        index.taking.prioritize([(index.table.row(chunk), values)])


def measure_draws(items: int, seconds: float) -> dict[str, float]:
    rng = np.random.default_rng(0)
    results = {}
    selectors = {"uniform": Uniform(), "recency": Recency(), "priority": Prioritized(context=1)}
    for name, selector in selectors.items():
        index = make_index(selector, items)
        give_priorities(index, rng)
        draws: list[float] = []
        updates: list[float] = []
        while sum(draws) + sum(updates) < seconds:
            start = time.process_time()
            starts, _ = index.draw(BATCH, rng)
            draws.append(time.process_time() - start)
            ids = [_ids(chunk, offset) for chunk, offset in starts]
            values = rng.random((BATCH, LENGTH - 1), np.float32)
            start = time.process_time()
            target = locate(index.table, np.stack(ids)[:, 1:])
            if index.taking is not None:
                index.prioritize((c, o, values[i, b:e]) for c, o, i, b, e in target.runs)
                index.taking.stats()  # Looks at the weights, so that they have to be there.
            updates.append(time.process_time() - start)
        results[f"{name}_draw_us"] = 1e6 * float(np.median(draws[1:]))
        results[f"{name}_bytes"] = selector.nbytes / items
    results["priority_update_us"] = 1e6 * float(np.median(updates[1:]))
    return results


def measure_mixture(items: int, seconds: float) -> dict[str, float]:
    selector = Mixture({"uniform": (Uniform(), 0.5), "priority": (Prioritized(context=1), 0.5)})
    steps = items + ENVS * (LENGTH - 1)
    replay = Replay(spaces("bfloat16"), length=LENGTH, capacity=steps, latents=LATENTS,
                    online=False, storage=pool, selector=selector)  # fmt: skip
    inputs = [transition(replay, seed) for seed in range(20)]
    start = time.process_time()
    for i in range(steps // ENVS):
        replay.add(inputs[i % len(inputs)], range(ENVS))
    adds = steps / (time.process_time() - start)
    rng = np.random.default_rng(0)
    give_priorities(replay._index, rng)

    def cycle() -> None:
        _, ids = replay.gather(replay.plan(BATCH))
        write_back(replay, ids[:, 1:], {}, rng.random((BATCH, LENGTH - 1), np.float32))

    results = {
        "mixture_adds_s": adds,
        "mixture_plan_us": 1e6 * median(lambda: replay.plan(BATCH), seconds),
        "mixture_cycles_s": 1 / median(cycle, seconds),
        "mixture_batches_s": 1 / median(lambda: replay.gather(replay.plan(BATCH)), seconds),
    }
    replay.close()
    return results


def calibrate(seconds: float) -> dict[str, float]:
    """Copies of the bytes of a batch out of memory beyond the caches."""
    size = BATCH * LENGTH * 64 * 64 * 3
    sources = [np.full(size, i, np.uint8) for i in range(20)]
    target = np.zeros(size, np.uint8)
    order = itertools.cycle(sources)
    time_of_one = median(lambda: np.copyto(target, next(order)), seconds)
    return {"memcpy_batches_s": 1 / time_of_one, "memcpy_GB_s": size / time_of_one / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of selectors.")
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 1_000_000, 10_000_000])
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    for items in args.items:
        results[str(items)] = measure_draws(items, args.seconds)
        if items <= 1_000_000:
            results[str(items)] |= measure_mixture(items, args.seconds)
    results["machine"] = calibrate(args.seconds)
    if args.json:
        print(json.dumps(results))
        return
    for title, values in results.items():
        for name, value in values.items():
            print(f"{title:>10} {name:20} {value:14,.2f}")


if __name__ == "__main__":
    main()
