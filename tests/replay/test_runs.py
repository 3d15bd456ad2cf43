"""Runs of neighbouring rows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reverie.replay.runs import merged, runs_of

STRIDE = 10
ROWS = st.lists(st.integers(0, 60))


def test_runs_end_where_rows_or_chunks_do():
    assert runs_of(np.array([3, 4, 5, 8, 9, 10, 11]), STRIDE) == [(3, 6), (8, 10), (10, 12)]
    assert runs_of(np.array([7]), STRIDE) == [(7, 8)]
    assert runs_of(np.array([], np.int64), STRIDE) == []


def test_merged_runs_have_every_row_once():
    assert merged([(5, 8), (2, 6), (0, 2), (12, 13)], STRIDE) == [(0, 8), (12, 13)]
    assert merged([(8, 10), (10, 12)], STRIDE) == [(8, 10), (10, 12)]
    assert merged([(2, 9), (3, 4)], STRIDE) == [(2, 9)]
    assert merged([], STRIDE) == []


@given(ROWS, ROWS)
def test_runs_hold_the_rows_that_they_were_made_of(one, other):
    runs = runs_of(np.sort(one), STRIDE) + runs_of(np.sort(other), STRIDE)
    found = [row for run in merged(runs, STRIDE) for row in range(*run)]
    assert found == sorted({*one, *other})
    assert all(first // STRIDE == (stop - 1) // STRIDE for first, stop in merged(runs, STRIDE))
