import keras
import numpy as np
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.models.average import update_average


def average_after(step, half_life):
    """The average of 0 with 1 after one update with batches of 8."""
    config = config_lib.load(
        "tiny", [f"train.ema_half_life_windows={half_life}"]
    )
    average, network = (keras.layers.Dense(2) for _ in range(2))
    for layer, value in ((average, 0.0), (network, 1.0)):
        layer.build((None, 3))
        layer.set_weights([np.full(w.shape, value) for w in layer.weights])
    update_average(average, network, tf.constant(step, tf.int64), config.train)
    values = np.concatenate([w.ravel() for w in average.get_weights()])
    assert len(set(values.tolist())) == 1
    return values[0]


def test_a_half_life_of_one_batch_takes_the_mean():
    np.testing.assert_allclose(average_after(1000, 8), 0.5)


def test_the_half_life_warms_up():
    # At step 0 the half-life is a twentieth of a batch: 2^-20 of the start.
    np.testing.assert_allclose(average_after(0, 1e6), 1, atol=1e-5)


def test_a_half_life_of_zero_follows_the_network():
    np.testing.assert_allclose(average_after(1000, 0), 1)
