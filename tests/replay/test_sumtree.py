import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.replay.selectors.sumtree import SumTree


@given(
    st.lists(
        st.dictionaries(
            st.one_of(st.integers(0, 200), st.integers(0, 300_000)),
            st.sampled_from([0.0, 0.5, 1.0, 3.0]),
            min_size=1,
            max_size=8,
        ),
        min_size=1,
        max_size=12,
    )
)
def test_a_sum_tree_holds_what_a_dictionary_holds(changes):
    tree, model = SumTree(), {}
    for change in changes:
        tree.set(np.array(list(change)), np.array(list(change.values())))
        model |= change
        assert tree.total == sum(model.values())
        assert tree.get(np.array(list(model))).tolist() == list(model.values())
    if tree.total:
        drawn = tree.draw(200, np.random.default_rng(0))
        assert all(model.get(index, 0) > 0 for index in drawn.tolist())


@pytest.mark.parametrize("size", [1, 50, 64, 65, 4096, 5000, 300_000])
def test_a_sum_tree_draws_in_proportion(size, assert_drawn):
    rng = np.random.default_rng(size)
    tree = SumTree()
    indices = rng.permutation(size)[:500]
    weights = rng.choice([0, 1, 2, 100], len(indices), p=[0.2, 0.4, 0.3, 0.1])
    weights[0] = 7
    tree.set(indices, weights)
    tree.set(indices[:100], weights[:100] * 2)
    weights[:100] *= 2
    exact = dict(zip(indices.tolist(), weights.tolist(), strict=True))
    assert_drawn(tree.draw(100_000, rng).tolist(), exact)


def test_setting_nothing_changes_nothing():
    tree = SumTree()
    tree.set(np.empty(0, np.int64), np.empty(0))
    assert tree.total == 0
