"""Arrays that are images although they are not declared as such."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gs

from reverie.envs.errors import ValueMismatchError
from reverie.envs.flat.codec import Codec
from reverie.envs.flat.conform import spaces
from reverie.envs.wrappers import wrap


class Shows(gymnasium.Env):
    action_space = gs.Discrete(2)

    def __init__(self, space, value=None):
        self.observation_space, self.value = space, value

    def reset(self, *, seed=None, options=None):
        return self.value, {}


def shown(value, high, dtype):
    """The image that becomes of an observation."""
    env = wrap(Shows(gs.Box(0, high, value.shape, dtype), value.astype(dtype)))
    (space,) = spaces(env)[0].values()
    ((key, image),) = env.reset()[0].items()
    assert (key, space.kind, space.shape) == ("image", "image", image.shape)
    assert image.dtype == np.uint8
    assert len(env.get_wrapper_attr("converter").notes) == 1
    return image


PIXELS = np.arange(20 * 30 * 3).reshape(20, 30, 3) % 256


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (PIXELS[:, :, 0], PIXELS[:, :, :1]),
        (PIXELS.transpose(2, 0, 1), PIXELS),
        (PIXELS[:, :, :1].transpose(2, 0, 1), PIXELS[:, :, :1]),
        (np.stack([PIXELS[:, :, 0]] * 6), np.repeat(PIXELS[:, :, :1], 6, -1)),
        (PIXELS.transpose(2, 0, 1)[..., None], PIXELS),
        (PIXELS[None], PIXELS),
        (np.stack([PIXELS, 255 - PIXELS]), np.concatenate([PIXELS, 255 - PIXELS], -1)),
        (PIXELS.transpose(2, 0, 1)[None], PIXELS),
    ],
)
def test_bytes_become_images(value, expected):
    assert np.array_equal(shown(value, 255, np.uint8), expected)


@pytest.mark.parametrize("value", [PIXELS, PIXELS.transpose(2, 0, 1)])
@pytest.mark.parametrize(("high", "dtype"), [(1, "f4"), (1, "f8"), (255, "f4"), (255, "i4")])
def test_other_numbers_become_images(value, high, dtype):
    scaled = value / 255 if high == 1 else value
    assert np.array_equal(shown(scaled, high, np.dtype(dtype).type), PIXELS)


@pytest.mark.parametrize(
    "space",
    [
        gs.Box(0, 1, (20, 30), np.float32),  # May be any table.
        gs.Box(0, 2, (19, 19), np.uint8),
        gs.Box(0, 255, (8, 8), np.uint8),
        gs.Box(0, 255, (300,), np.uint8),
        gs.Box(-1, 1, (20, 30, 3), np.float32),
        gs.Box(0, 1, (20, 30, 7), np.float32),
        gs.Box(0, 1, (20, 30, 3), np.int64),
    ],
)
def test_what_may_be_something_else_stays_numbers(space):
    ((key, found),) = spaces(wrap(Shows(space)))[0].items()
    assert (key, found.kind) == ("obs", "continuous")


def test_images_as_declared_stay_as_they_are():
    for shape in ((20, 30, 3), (20, 30, 9), (7, 7, 20), (64, 64, 1)):
        env = wrap(Shows(gs.Box(0, 255, shape, np.uint8)))
        assert spaces(env)[0]["image"].shape == shape
        assert not env.get_wrapper_attr("converter").notes


def test_actions_and_logs_are_no_images():
    space = gs.Dict({"log/map": gs.Box(0, 1, (20, 20, 3)), "x": gs.Discrete(2)})
    assert Codec(space, "observation").space["log/map"].dtype == np.float32
    assert Codec(gs.Box(0, 1, (20, 20, 3)), "action").space["action"].dtype == np.float32


def test_wrong_values_of_such_images_are_named():
    space = gs.Box(0, 1, (20, 30, 3), np.float32)
    for value, words in ((np.nan, "NaN"), (200.0, "above its upper bound 1")):
        with pytest.raises(ValueMismatchError, match=f"'image' is {words}"):
            wrap(Shows(space, np.full((20, 30, 3), value, np.float32))).reset()
