"""Seeds of many environments that all derive from one."""

import numpy as np


def env_seeds(seed: int, num: int) -> list[int]:
    """Independent seeds for `num` environments, derived from the seed of the run.

    The first ones do not change when `num` grows. Each fits in 31 bits, as old libraries need.
    """
    return [env_seed(seed, index) for index in range(num)]


def env_seed(seed: int, index: int) -> int:
    """The seed of environment `index` in a run with this seed, in 0..2^31-1."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0]) >> 1
