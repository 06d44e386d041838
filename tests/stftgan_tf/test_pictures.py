import numpy as np
import tensorflow as tf

from stftgan_tf import pictures


def test_a_grid_is_a_png_with_a_row_for_every_eight():
    windows = np.zeros((9, 16, 32), np.float32)
    image = tf.io.decode_png(pictures.grid(windows, list("abcdefghi"))).numpy()
    assert image.shape == (340, 1200, 4)


def test_low_frequencies_are_at_the_bottom_and_time_runs_right():
    window = np.full((1, 16, 32), -1.0, np.float32)
    window[0, 12:, :4] = 1.0  # late and low
    image = np.int32(tf.io.decode_png(pictures.grid(window)))
    yellow = np.argwhere((image[..., 0] > 200) & (image[..., 2] < 100))
    height, width = image.shape[:2]
    assert len(yellow)
    assert yellow[:, 0].min() > height / 2
    assert yellow[:, 1].min() > width / 2
