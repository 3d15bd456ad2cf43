"""What the writer does beside appending rows; for those see test_buffer.py."""

import numpy as np

from reverie.replay import writer
from reverie.replay.storage import Chunk

STREAMS, ROWS, PAGE = 3, 40, 8


def test_streams_take_turns_in_touching_the_pages_that_they_need_soon(monkeypatch):
    monkeypatch.setattr(writer, "LARGE", 8 * ROWS)  # Bytes of the image, not of `is_first`.
    chunks = []

    def create(stream, previous):
        arrays = {"image": np.full(ROWS, 7.0), "is_first": np.full(ROWS, True)}
        chunks.append(Chunk(len(chunks), stream, arrays, previous))
        return chunks[-1]

    def touched():
        """Pairs of a stream and a page, without its first one, in which a row was written."""
        for stream, chunk in enumerate(chunks):
            rows = np.flatnonzero(chunk.arrays["image"] != 7)
            yield from ((stream, page) for page in np.unique(rows // PAGE).tolist() if page)

    made = writer.Writer(STREAMS, 5, create)
    columns = {"image": np.full(STREAMS, 1.0), "is_first": np.full(STREAMS, False)}
    before = set()
    for _ in range(ROWS):
        made.append(columns)
        now = set(touched())
        assert len(now - before) <= 1
        before = now
    assert before == {(i, j) for i in range(STREAMS) for j in range(1, ROWS // PAGE)}
    for chunk in chunks:
        np.testing.assert_array_equal(chunk.arrays["image"], np.ones(ROWS))
        assert not chunk.arrays["is_first"].any()
