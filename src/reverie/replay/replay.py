"""The replay buffer: streams of steps in, training sequences out."""

import collections
import concurrent.futures
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reverie.replay import figures, writeback
from reverie.replay.chunk import OFFSET_BITS, Layout
from reverie.replay.files import archive
from reverie.replay.files.restore import Loaded, restore
from reverie.replay.files.storage import RamStorage, Storage
from reverie.replay.index import Index
from reverie.replay.plan import Plan, gather, make_plan
from reverie.replay.selectors.base import KeepsState, Selector
from reverie.replay.selectors.uniform import Uniform
from reverie.replay.streams import Streams, at_least, check, check_new
from reverie.replay.writeback import Target
from reverie.spaces import Space


class Replay:
    """Keeps the newest steps of independent streams and draws sequences of consecutive ones.

    Streams never mix: a sequence lies in one of them, across the borders of chunks and episodes.
    All methods but `gather` and `write` belong to one thread; those two may
    run in another. The same seed and the same calls give the same batches.

    Args:
        spaces: Space per stored key: observations, actions, latents. `reward` and the flags are
            added when missing.
        length: Steps of a sequence, `consec_train * batch_length + replay_context`.
        capacity: Most steps held, over all streams. The oldest chunk is evicted when there are
            more, and no sequence that touches it can be drawn from then on.
        chunksize: Steps per chunk; smaller chunks are used when the capacity asks for it.
        context: Leading steps of a sequence whose latents are handed out.
        latents: Those keys of `spaces` that hold latents.
        online: Whether each fresh sequence is drawn once before any other.
        selector: How sequences are drawn; uniformly by default.
        storage: Where chunks live; in RAM by default. `DiskStorage` needs its arguments bound.
        seed: Seed of the draws.
        serial: Number of the first chunk.

    Raises:
        TypeError: If the selector takes priorities and lacks something for it.
        ValueError: If a number is out of range or a latent is unknown.
    """

    def __init__(
        self,
        spaces: Mapping[str, Space],
        *,
        length: int,
        capacity: int,
        chunksize: int = 1024,
        context: int = 1,
        latents: Iterable[str] = (),
        online: bool = True,
        selector: Selector | None = None,
        storage: Callable[[Layout], Storage] = RamStorage,
        seed: int = 0,
        serial: int = 0,
    ):
        at_least("length", length, 1)
        at_least("capacity", capacity, length + 1)
        at_least("chunksize", chunksize, 1)
        if chunksize > 1 << OFFSET_BITS:
            raise ValueError(f"chunksize is {chunksize}, at most {1 << OFFSET_BITS} is possible.")
        if not 0 <= context < length:
            raise ValueError(f"context is {context}, it must be in 0 .. length-1 = {length - 1}.")
        self.layout = Layout(spaces, tuple(latents))
        self.length = length
        self.context = context
        self._storage = storage(self.layout)
        # An empty selector is false: it has a length.
        selector = Uniform() if selector is None else selector
        self._index = Index(selector, length, capacity, chunksize, online)
        self._rng = np.random.default_rng(seed)
        # Totals since the beginning of the run, saved with it.
        self._counts = collections.Counter[str]()
        self._latent_lock = threading.Lock()
        self._archive = archive.Archive(self._storage, self._latent_lock)
        parts = self._index, self._storage, self._archive
        self._streams = Streams(*parts, length, chunksize, serial)
        # The one thread that copies, for all who draw from this replay, in the order of submission:
        # so batches do not depend on timing.
        self.worker = concurrent.futures.ThreadPoolExecutor(1, "replay-stream")

    def __len__(self) -> int:
        """Number of sequences that can be drawn."""
        return len(self._index.selector)

    def add(
        self, steps: Mapping[str, np.ndarray], streams: Sequence[int], priority: Any = None
    ) -> None:
        """Append consecutive steps of some streams.

        Streams may differ in speed. One whose id is new begins; one whose open chunk was evicted,
        because others were so much faster, begins anew.

        Args:
            steps: `[T, N, *shape]` per key; those at `[:, i]` follow one another in stream i. Keys
                starting with `log/` are ignored.
            streams: Ids of the N streams. Environments that step together may use `range(N)`.
            priority: Priorities `[T, N]` of these steps, where they are known: NaN for none.

        Raises:
            KeyError: If a key is missing or unknown.
            TypeError: If a dtype is not that of the space.
            ValueError: If a shape does not fit, a stream is named twice, the capacity is too small
                for N, or a priority is negative.
            OSError: If an earlier step could not be written; `DiskFullError` if the disk is full.
        """
        self._archive.report()
        columns = check(steps, streams, self.layout)
        if priority is not None:
            priority = check_new(priority, columns["is_first"].shape)
        self._streams.append(columns, np.asarray(streams).tolist(), priority)
        self._counts["inserts"] += columns["is_first"].size

    def end(self, stream: int) -> None:
        """End a stream, which frees the memory of its open chunk; its steps stay.

        The next step of this id begins a new stream. Nothing happens if there is none of it.
        """
        self._archive.report()
        self._streams.end(stream)

    def open_streams(self) -> tuple[int, ...]:
        """Ids of those that have begun and not ended."""
        return self._streams.open

    def ready(self, batch_size: int) -> bool:
        """Whether a full batch of sequences, without any overlap, was added and is drawable."""
        return self._counts["inserts"] >= batch_size * self.length and len(self) >= batch_size

    def plan(self, batch_size: int, *, probe: np.random.Generator | None = None) -> Plan:
        """Draw sequences: those of the online queue first, then what the selector chooses.

        Args:
            batch_size: Number of sequences B, at least 1.
            probe: Random state for a draw that leaves no trace: the online queue, the random state
                of replay and the counters stay as they are. For reports.

        Raises:
            IndexError: If no sequence can be drawn yet.
            ValueError: If the batch size is not positive.
        """
        at_least("batch_size", batch_size, 1)
        rng = self._rng if probe is None else probe
        starts, online = self._index.draw(batch_size, rng, probe is not None)
        plan = make_plan(starts, self.length, online)
        if probe is None:
            replayed = batch_size * (self.length - self.context)
            self._counts.update(samples=batch_size, online=online, replayed=replayed)
        return plan

    def plan_again(self, starts: Iterable[int]) -> Plan | None:
        """The plan of sequences with these first steps; None unless all of them are there."""
        found = [self._index.start(step) for step in starts]
        there = [start for start in found if start is not None]
        return make_plan(there, self.length, 0) if there and len(there) == len(found) else None

    def gather(
        self, plan: Plan, start: int = 0, stop: int | None = None
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Copy the planned steps; may run in another thread.

        The first step of each sequence has `is_first`, and a step followed by the first one of an
        episode has `is_last`: an episode that was abandoned ends there.

        Args:
            plan: What to copy.
            start: First step of the sequences to copy.
            stop: Step after the last one; all of them by default.

        Returns:
            The batch, `[B, stop-start, *shape]` per key and `[B, context, *shape]` per latent, and
            the ids of its steps, int64 `[B, stop-start]`.
        """
        with self._latent_lock:
            return gather(plan, self.layout, self.context, start, stop)

    def locate(self, ids: np.ndarray) -> Target:
        """Find the rows of steps; those that were evicted are left out and counted as missed.

        Args:
            ids: int64 `[B, T]`; each row has consecutive steps, as `gather` returned them.
        """
        target = writeback.locate(self._index.table, ids)
        self._counts["missed"] += target.missed
        return target

    def write(self, target: Target, latents: Mapping[str, Any]) -> None:
        """Write fresh latents; may run in another thread.

        Args:
            target: Where to, from `locate`.
            latents: `[B, T, *shape]` per latent key; converted by `np.asarray`, which waits for
                the device.

        Raises:
            KeyError: If the keys are not those of the latents.
            TypeError: If a dtype differs.
            ValueError: If a shape does not fit.
        """
        arrays = writeback.check_latents(latents, target, self.layout)
        with self._latent_lock:
            for chunk, offset, sequence, begin, end in target.runs:
                rows = {key: array[sequence, begin:end] for key, array in arrays.items()}
                chunk.write(offset, rows)

    def prioritize(self, target: Target, priority: Any) -> None:
        """Give steps new priorities.

        Args:
            target: Which steps, from `locate`.
            priority: float32 `[B, T]`, not negative.

        Raises:
            ValueError: If the shape does not fit or a value is negative or not a number.
        """
        values = writeback.check_priority(priority, target)
        self._index.prioritize(
            (chunk, offset, values[sequence, begin:end])
            for chunk, offset, sequence, begin, end in target.runs
        )

    def stats(self) -> dict[str, float]:
        """Counts since the beginning of the run.

        Returns:
            `items` (drawable sequences), `steps`, `chunks`, `bytes` and `bytes_per_step` (stored
            data with latents, and index), `ram_bytes` and `disk_bytes` (their parts in memory and
            in files that are read while training), `inserts` (steps), `samples` (sequences),
            `online_share` (of the samples), `online_queue` (sequences that wait in it),
            `replay_ratio` (trained steps drawn per step added), `missed_updates` (steps that were
            evicted before their latents came back), `damaged_chunks` (left out when they were
            loaded), `capacity`, `streams` (open ones), and what the selector adds.
        """
        streams = len(self._streams.open)
        return figures.of_one(self._index, self.layout, self._counts, streams)

    def save(self, folder: Path | str, mark: str = "") -> archive.Saving:
        """Start writing everything that the folder lacks; see `archive` for its files.

        Returns at once. What was added before the call is durable when the returned object's
        `wait` returns.

        Args:
            folder: The same one every time, so that finished chunks are written once.
            mark: Names this save, so that `load` can go on exactly from here; at a cost of 8 bytes
                per sequence and selector.

        Raises:
            FileExistsError: If the folder holds chunks that this replay has not loaded or written.
            OSError: If an earlier save has failed.
        """
        folder = Path(folder).expanduser().resolve()
        state = {
            "rng": self._rng.bit_generator.state,
            "online": list(self._index.online),
            "serial": self._streams.serial,
            "counts": dict(self._counts),
            "mark": mark,
        }
        if mark:
            state |= {**self._index.state(), "streams": self._streams.state()}
        selector = self._index.selector
        kept = selector.state(bool(mark)) if isinstance(selector, KeepsState) else {}
        return self._archive.save(folder, list(self._index.table), state, kept, self.worker)

    def load(self, folder: Path | str, mark: str = "") -> Loaded:
        """Restore a saved replay into this empty one.

        If the newest save has the mark and was made with the same settings, all is as it was then:
        streams go on where they were, and later rows are cut off.

        Otherwise all streams have ended: the next step of any id begins a new one. Capacity,
        sequence length, chunk size and selector are those of this object; older chunks are dropped
        if the capacity is smaller now.

        Args:
            folder: Where it was saved. Saving there again writes only what is new.
            mark: That of the save to go on from exactly; empty for none.

        Returns:
            What was restored and which files were skipped because they are damaged.

        Raises:
            FileNotFoundError: If there is no such folder.
            RuntimeError: If steps were added or loaded before.
            ValueError: If keys, dtypes or shapes are not those of this replay.
        """
        folder = Path(folder).expanduser().resolve()
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no replay to load in {folder}.")
        if len(self._index.table):
            raise RuntimeError("Load a replay before adding steps to it.")
        self._archive.check(folder)
        loaded, state, open_streams = restore(folder, self._index, self._storage, mark)
        self._counts["inserts"] = loaded.steps
        streams = self._streams
        streams.serial = max(archive.serials(folder), default=-1) + 1
        if state:
            self._counts = collections.Counter[str](state["counts"])
            self._rng.bit_generator.state = state["rng"]
            streams.serial = max(streams.serial, state["serial"])
            if loaded.exact:
                streams.serial = state["serial"]
                streams.restore(open_streams)
        self._counts["damaged"] += loaded.lost
        self._archive.use(folder, self._index.table)
        return loaded

    def close(self) -> None:
        """Wait for the save in progress and stop the threads.

        Raises:
            OSError: If the save has failed.
        """
        self.worker.shutdown(wait=True)
        self._archive.close()
