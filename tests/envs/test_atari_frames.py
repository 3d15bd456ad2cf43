"""Frames of Atari games: their interpolations, gray values and order."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ale_py")

from reverie.config.sections.env import AtariConfig
from reverie.envs.suites.atari.frames import Frames, area, bilinear


def test_bilinear_resize_by_hand():
    row = np.array([0, 70, 140, 210], np.uint8)
    frame = np.repeat(np.tile(row, (2, 1))[:, :, None], 3, 2)
    # A pixel of two reaches over two pixels on each side: weights 3, 3, 1 out of 7.
    want = [(3 * 0 + 3 * 70 + 140) // 7, (70 + 3 * 140 + 3 * 210) // 7]
    assert want == [50, 160]
    np.testing.assert_array_equal(bilinear(frame, (2, 2), False)[:, :, 0], [want, want])
    np.testing.assert_array_equal(bilinear(frame, (2, 2), True)[:, :, 0], [want, want])


def test_bilinear_resizes_colours_before_it_makes_them_gray():
    frame = np.random.default_rng(0).integers(0, 256, (210, 160, 3), dtype=np.uint8)
    small = np.asarray(Image.fromarray(frame).resize((64, 96), Image.Resampling.BILINEAR))
    exact = small.astype(np.float64) @ [0.299, 0.587, 0.114]
    found = bilinear(frame, (96, 64), True)
    assert found.shape == (96, 64, 1)
    assert np.abs(found[:, :, 0] - exact).max() <= 0.51
    np.testing.assert_array_equal(bilinear(frame, (96, 64), False), small)


def test_area_resize_by_hand():
    frame = np.repeat(np.array([[0, 90, 180]], np.uint8)[:, :, None], 3, 2)
    # Half of the middle pixel belongs to each side.
    want = [(0 + 45) / 1.5, (45 + 180) / 1.5]
    np.testing.assert_array_equal(area(frame, (1, 2), False)[0, :, 2], want)
    np.testing.assert_array_equal(area(frame, (1, 2), True)[0, :, 0], want)
    np.testing.assert_array_equal(area(frame.swapaxes(0, 1), (2, 1), True)[:, 0, 0], want)
    blocks = np.random.default_rng(0).integers(0, 256, (12, 8, 3), dtype=np.uint8)
    mean = blocks.reshape(4, 3, 2, 4, 3).mean((1, 3))
    assert np.abs(area(blocks, (4, 2), False) - mean).max() <= 0.51
    np.testing.assert_array_equal(area(blocks, (12, 8), False), blocks)


@pytest.mark.parametrize("resize", [bilinear, area])
def test_gray_values_of_colours(resize):
    colours = np.eye(3, dtype=np.uint8)[None] * np.uint8(255)
    assert resize(colours, (1, 3), True)[0, :, 0].tolist() == [76, 150, 29]


def test_frames_keep_the_newest_last():
    frames = Frames((3, 3), AtariConfig(size=(3, 3), gray=False))
    for value in (200, 10, 60):
        frames.next()[...] = value
    assert frames.image().tolist() == np.full((3, 3, 3), 60).tolist()
    frames.next()[...] = 20
    frames.spread()
    assert frames.image().max() == 20
