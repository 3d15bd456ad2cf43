"""The built-in decoder: shapes, and how its outputs read the targets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.config.sections.agent import SimpleDecoderConfig
from reverie.nn.dists import Categorical, SymlogMSE
from reverie.spaces import Space
from reverie.world.decoder import ImagePrediction, SimpleDecoder

DETER, STOCH = 16, 6


def image(height, width, channels=3):
    return Space("image", (height, width, channels), "uint8")


def make(spaces, **options):
    options = {"bspace": 4, **options}
    config = SimpleDecoderConfig(depth=1, units=8, layers=1, kernel=3, **options)
    return SimpleDecoder(spaces, DETER, STOCH, **config.model_dump(), key=jax.random.key(0))


def features(*batch):
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=(*batch, n)), jnp.float32) for n in (DETER, STOCH))


@jax.jit
def decode(decoder, deter, stoch):
    return decoder(deter, stoch)


def test_one_prediction_of_each_kind_per_key():
    spaces = {
        "a": image(48, 48, 1),
        "b": image(48, 48, 3),
        "mode": Space("discrete", (2,), "bool", (2, 2)),
        "speed": Space("continuous", (2, 2), "float32"),
    }
    outs = decode(make(spaces), *features(2, 3))
    kinds = {key: type(out) for key, out in outs.items()}
    assert kinds == {
        "a": ImagePrediction,
        "b": ImagePrediction,
        "mode": Categorical,
        "speed": SymlogMSE,
    }
    for key, out in outs.items():
        assert out.pred().shape == (2, 3, *spaces[key].shape)
        target = jnp.zeros((2, 3, *spaces[key].shape), spaces[key].dtype)
        assert out.loss(target).shape == (2, 3)


@pytest.mark.parametrize("outer", [False, True])
@pytest.mark.parametrize("strided", [False, True])
def test_images_have_the_size_of_their_space(strided, outer):
    decoder = make({"view": image(48, 80)}, strided=strided, outer=outer)
    shape = jax.eval_shape(lambda *x: decoder(*x)["view"].pred(), *features(2)).shape
    assert shape == (2, 48, 80, 3)
    factor = 8 if outer else 16
    assert decoder.image.grid == (48 // factor, 80 // factor, 4)


def test_both_parts_of_the_latent_reach_every_output():
    spaces = {"view": image(48, 48), "speed": Space("continuous", (2,), "float32")}
    decoder = make(spaces)
    deter, stoch = features(2)
    base = decode(decoder, deter, stoch)
    for changed in (decode(decoder, deter + 1, stoch), decode(decoder, deter, stoch + 1)):
        for key in spaces:
            assert float(jnp.abs(changed[key].pred() - base[key].pred()).max()) > 1e-4


def test_pixels_lie_between_zero_and_one():
    view = decode(make({"view": image(48, 48)}), *features(2))["view"].pred()
    assert view.dtype == jnp.float32
    assert 0 < float(view.min()) < float(view.max()) < 1


def test_image_loss_is_the_squared_error_summed_over_pixels():
    prediction = ImagePrediction(jnp.full((1, 2, 2, 1), 0.5))
    target = jnp.array([255, 0, 255, 51], jnp.uint8).reshape(1, 2, 2, 1)
    np.testing.assert_allclose(prediction.loss(target), [3 * 0.25 + 0.09], rtol=1e-5)


def test_an_output_scale_of_zero_predicts_zero():
    decoder = make({"speed": Space("continuous", (2,), "float32")}, outscale=0.0)
    np.testing.assert_array_equal(decoder(*features(2))["speed"].pred(), np.zeros((2, 2)))
