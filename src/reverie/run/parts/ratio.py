"""How many updates are due after some environment steps."""

import fractions


class Ratio:
    """Counts updates that are due; fractions of an update carry over exactly.

    Updates per environment step are `train_ratio / (batch_size * batch_length)`, because the train
    ratio counts replayed steps.

    Args:
        train_ratio: Replayed steps per environment step.
        batch_steps: Replayed steps per update: `batch_size * batch_length`.

    Example:
        >>> ratio = Ratio(32, 16 * 64)
        >>> [ratio(16) for _ in range(4)]
        [0, 1, 0, 1]

    """

    def __init__(self, train_ratio: float, batch_steps: int):
        self._per_step = fractions.Fraction(train_ratio) / batch_steps
        self._credit = fractions.Fraction(0)

    def __call__(self, steps: int) -> int:
        """Adds environment steps and returns the number of updates that are now due."""
        self._credit += steps * self._per_step
        due = int(self._credit)
        self._credit -= due
        return due

    def give_back(self, updates: int) -> None:
        """Counts updates as due again that were not made."""
        self._credit += updates

    def save(self) -> list[int]:
        """The carried fraction as numerator and denominator."""
        return [self._credit.numerator, self._credit.denominator]

    def load(self, credit: list[int]) -> None:
        """Goes on from a saved fraction."""
        self._credit = fractions.Fraction(*credit)
