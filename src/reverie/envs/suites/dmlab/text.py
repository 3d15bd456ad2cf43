"""Instructions in words as arrays of numbers that need no vocabulary and no training."""

import functools
import hashlib
import math
import re

import numpy as np

WORDS = 32
"""Words of an instruction that are kept."""

WIDTH = 32
"""Numbers per word."""

_SPREAD = math.sqrt((256**2 - 1) / 12)  # Standard deviation of a random byte.

BOUND = 127.5 / _SPREAD
"""Largest absolute value of a number."""


def embed(text: str) -> np.ndarray:
    """The words of a text, one row each.

    A word is a run of letters, digits and `_`, in lower case, or any other single character but
    space. Its row is made of the bytes of its SHAKE-256 hash: fixed pseudo-random numbers of mean 0
    and variance 1, the same on every machine, so that different words are nearly orthogonal. Rows
    after the last word are 0, and words after the 32nd are left out.

    Returns:
        float32 [32, 32].
    """
    rows = np.zeros((WORDS, WIDTH), np.float32)
    for row, word in zip(rows, re.findall(r"\w+|[^\w\s]", text.lower()), strict=False):
        row[:] = _vector(word)
    return rows


@functools.lru_cache(maxsize=10_000)
def _vector(word: str) -> np.ndarray:
    digest = hashlib.shake_256(word.encode()).digest(WIDTH)
    return ((np.frombuffer(digest, np.uint8) - 127.5) / _SPREAD).astype(np.float32)
