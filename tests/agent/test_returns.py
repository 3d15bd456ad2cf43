import jax.numpy as jnp
import numpy as np

from reverie.agent.training.returns import imagined_return, replay_return


def test_imagined_return_by_hand():
    reward = jnp.array([9.0, 1.0, 2.0])
    discount = jnp.array([9.0, 0.5, 0.9])
    value = jnp.array([9.0, 10.0, 20.0])
    # R_1 = 2 + 0.9 (0.2 * 20 + 0.8 * 20) = 20, R_0 = 1 + 0.5 (0.2 * 10 + 0.8 * 20) = 10.
    np.testing.assert_allclose(imagined_return(reward, discount, value, 0.8), [10, 20], rtol=1e-6)


def test_imagined_return_extremes_of_lambda():
    reward, discount = jnp.array([0.0, 1.0, 2.0]), jnp.array([1.0, 0.5, 0.5])
    value = jnp.array([0.0, 4.0, 8.0])
    np.testing.assert_allclose(imagined_return(reward, discount, value, 0.0), [3, 6])
    np.testing.assert_allclose(imagined_return(reward, discount, value, 1.0), [4, 6])


def flags(*values):
    return jnp.array(values, bool)


def test_replay_return_by_hand():
    reward, boot = jnp.array([9.0, 1.0, 2.0]), jnp.array([9.0, 10.0, 20.0])
    none = flags(0, 0, 0)
    # R_1 = 2 + 0.5 (0.2 * 20 + 0.8 * 20) = 12, R_0 = 1 + 0.5 (0.2 * 10 + 0.8 * 12) = 6.8.
    np.testing.assert_allclose(replay_return(reward, none, none, boot, 0.5, 0.8), [6.8, 12])


def test_nothing_follows_a_terminal_step():
    reward, boot = jnp.array([9.0, 1.0, 2.0]), jnp.array([9.0, 10.0, 20.0])
    end = flags(0, 1, 0)
    np.testing.assert_allclose(replay_return(reward, end, end, boot, 0.5, 0.8)[0], 1.0)


def test_a_truncated_step_bootstraps_and_ignores_the_next_episode():
    reward, boot = jnp.array([9.0, 1.0, 2.0]), jnp.array([9.0, 10.0, 20.0])
    result = replay_return(reward, flags(0, 1, 0), flags(0, 0, 0), boot, 0.5, 0.8)
    np.testing.assert_allclose(result[0], 1 + 0.5 * 10)
