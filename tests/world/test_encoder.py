"""The built-in encoder: which observations it takes and what it makes of them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.config.sections.agent import SimpleEncoderConfig
from reverie.spaces import Space
from reverie.world.encoder import SimpleEncoder

VECTORS = {
    "position": Space("continuous", (3,), "float32"),
    "switches": Space("discrete", (2,), "bool", (2, 2)),
}


def image(height, width, channels=3):
    return Space("image", (height, width, channels), "uint8")


def make(spaces, **options):
    config = SimpleEncoderConfig(depth=1, units=8, layers=1, kernel=3, **options)
    return SimpleEncoder(spaces, **config.model_dump(), key=jax.random.key(0))


def values(spaces, *batch):
    rng, obs = np.random.default_rng(0), {}
    for key, space in spaces.items():
        shape = (*batch, *space.shape)
        if space.kind == "continuous":
            obs[key] = jnp.asarray(rng.normal(size=shape), jnp.float32)
        else:
            high = 256 if space.kind == "image" else min(space.classes)
            obs[key] = jnp.asarray(rng.integers(0, high, shape), space.dtype)
    return obs


def shape_of(spaces, batch=(2, 3), **options):
    encoder = make(spaces, **options)
    result = jax.eval_shape(lambda obs: encoder(obs, jnp.float32), values(spaces, *batch))
    assert result.shape[-1] == encoder.tokens
    return result.shape


@pytest.mark.parametrize(
    ("height", "width", "grid"), [(64, 64, 4 * 4), (48, 80, 3 * 5), (96, 64, 6 * 4)]
)
@pytest.mark.parametrize("strided", [False, True])
def test_every_stage_halves_an_image(height, width, grid, strided):
    # The last stage has 4 channels, `depth * mults[-1]`.
    assert shape_of({"view": image(height, width)}, strided=strided) == (2, 3, grid * 4)


@pytest.mark.parametrize("strided", [False, True])
def test_outer_keeps_the_resolution_of_the_first_stage(strided):
    shape = shape_of({"view": image(32, 32)}, outer=True, strided=strided)
    assert shape == (2, 3, 4 * 4 * 4)


def test_several_images_share_one_stack():
    spaces = {"a": image(48, 48, 1), "b": image(48, 48, 3)}
    encoder = make(spaces)
    assert encoder.stages[0].conv.kernel.shape == (3, 3, 4, 2)
    encode = jax.jit(lambda obs: encoder(obs, jnp.float32))
    obs = values(spaces, 2)
    tokens = encode(obs)
    for key in spaces:
        changed = encode(obs | {key: 255 - obs[key]})
        assert float(jnp.abs(changed - tokens).max()) > 1e-3


@pytest.mark.parametrize("batch", [(2,), (2, 3)])
def test_vectors_and_images_stand_side_by_side(batch):
    spaces = {**VECTORS, "view": image(48, 48)}
    assert shape_of(spaces, batch) == (*batch, 8 + 9 * 4)
    assert shape_of(VECTORS, batch) == (*batch, 8)


def test_time_is_just_a_batch_axis():
    encoder = make({**VECTORS, "view": image(48, 48)})
    encode = jax.jit(lambda obs: encoder(obs, jnp.float32))
    obs = values({**VECTORS, "view": image(48, 48)}, 2, 3)
    whole = encode(obs)
    step = encode({k: v[:, 1] for k, v in obs.items()})
    np.testing.assert_allclose(whole[:, 1], step, rtol=1e-4, atol=1e-5)


def test_continuous_vectors_are_squashed_unless_switched_off():
    spaces = {"position": VECTORS["position"]}
    obs = {"position": jnp.array([[1e6, 0.0, 0.0]])}
    small = {"position": jnp.array([[np.log1p(1e6), 0.0, 0.0]], jnp.float32)}
    squashed = make(spaces)(obs, jnp.float32)
    plain = make(spaces, symlog=False)(small, jnp.float32)
    np.testing.assert_allclose(squashed, plain, rtol=1e-5)


def test_pixels_are_centred():
    """Without its stages, the encoder shows what they see."""
    spaces = {"view": image(48, 48, 1)}
    encoder = eqx.tree_at(lambda e: e.stages, make(spaces), (lambda x: x,))
    view = np.zeros((1, 48, 48, 1), np.uint8)
    view[0, 0, :2, 0] = [255, 51]
    tokens = encoder({"view": jnp.asarray(view)}, jnp.float32)
    np.testing.assert_allclose(tokens[0, :3], [0.5, -0.3, -0.5], rtol=1e-5)


def test_the_compute_dtype_is_that_of_the_result():
    spaces = {**VECTORS, "view": image(48, 48)}
    encoder = make(spaces)
    result = jax.eval_shape(lambda obs: encoder(obs, jnp.bfloat16), values(spaces, 2))
    assert result.dtype == jnp.bfloat16


def test_a_missing_vector_looks_like_an_all_zero_encoding():
    encoder = make(VECTORS)
    missing = {
        "position": jnp.array([[1.0, -jnp.inf, 2.0]]),
        "switches": jnp.array([[True, False]]),
    }
    zero = missing | {"position": jnp.zeros((1, 3))}
    np.testing.assert_array_equal(encoder(missing, jnp.float32), encoder(zero, jnp.float32))
