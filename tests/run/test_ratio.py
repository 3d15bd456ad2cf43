"""How many updates are due."""

import fractions

import hypothesis
import hypothesis.strategies as st

from reverie.run.parts.ratio import Ratio


def test_fractions_carry_over():
    ratio = Ratio(32, 16 * 64)
    assert [ratio(16) for _ in range(5)] == [0, 1, 0, 1, 0]
    assert [Ratio(1024, 1024)(n) for n in (1, 7)] == [1, 7]
    assert Ratio(0, 1024)(10**9) == 0


@hypothesis.given(
    st.floats(0.01, 4096), st.integers(1, 4096), st.lists(st.integers(1, 64), max_size=50)
)
def test_total_is_exact_and_survives_saving(train_ratio, batch_steps, steps):
    total = 0
    ratio = Ratio(train_ratio, batch_steps)
    for count in steps:
        total += ratio(count)
        saved, ratio = ratio.save(), Ratio(train_ratio, batch_steps)
        ratio.load(saved)
    assert total == int(sum(steps) * fractions.Fraction(train_ratio) / batch_steps)
