import keras
import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf.models import layers


def test_minibatch_stddev_by_hand():
    # Two groups of neighbours: 0 and 2, then 5 and 5.
    rows = tf.constant([[[0.0]], [[2.0]], [[5.0]], [[5.0]]])
    result = layers.MinibatchStddev(2)(rows)
    assert result.shape == (4, 1, 2)
    np.testing.assert_array_equal(result[..., 0], rows[..., 0])
    np.testing.assert_allclose(
        result[:, 0, 1], [1.0, 1.0, 1e-4, 1e-4], atol=1e-6
    )


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_up_conv_equals_repetition_and_convolution(kernel):
    x = tf.random.stateless_normal([2, 6, 3], [0, 0])
    up_conv = layers.UpConv1D(4, kernel)
    assert up_conv(x).shape == (2, 12, 4)
    up_conv.bias.assign(np.arange(4))
    conv = keras.layers.Conv1D(4, kernel, padding="same")
    conv.build((None, 12, 3))
    conv.set_weights([up_conv.kernel.numpy(), np.arange(4)])
    expected = conv(keras.layers.UpSampling1D(2)(x))
    np.testing.assert_allclose(up_conv(x), expected, atol=1e-5)
