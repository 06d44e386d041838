import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.models import augment

MEAN, STD = np.full(32, -4.0, np.float32), np.full(32, 2.0, np.float32)
SIZES = {"gain_db": 6, "shift_frames": 4, "mask_frames": 8, "mask_bins": 8}


def augmentation(*sizes):
    """An Augment in which only the given changes have a size, or all."""
    sizes = sizes or SIZES
    sets = [f"augment.{k}={v if k in sizes else 0}" for k, v in SIZES.items()]
    return augment.Augment(config_lib.load("tiny", sets), Moments(MEAN, STD))


def windows(count=5):
    return tf.random.stateless_uniform([count, 16, 32], [0, 0], -0.5, 0.5)


def draws(count=5, **fixed):
    """Uniform draws; `fixed` sets columns, c3=1.0 the fourth one."""
    values = tf.random.stateless_uniform([count, augment.DRAWS], [1, 1]).numpy()
    for name, value in fixed.items():
        values[:, int(name[1:])] = value
    return tf.constant(values)


def test_with_probability_zero_nothing_changes():
    result = augmentation()(windows(), draws(), 0.0)
    np.testing.assert_array_equal(result, windows())


def test_with_probability_one_every_window_changes():
    result = augmentation()(windows(), draws(), 1.0).numpy()
    assert (result != windows().numpy()).any(axis=(1, 2)).all()
    assert np.abs(result).max() <= 1


def test_each_change_has_the_probability():
    p, count = 0.3, 2000
    ones = tf.ones([count, 16, 32]) * 0.5
    result = augmentation("gain_db")(ones, draws(count), p).numpy()
    share = (result != 0.5).any(axis=(1, 2)).mean()
    assert share == pytest.approx(p, abs=0.04)


def test_gain_by_hand():
    # The largest gain, 6 dB, is ln(1.995); 1 stands for 3 sigma = 6 nepers.
    result = augmentation("gain_db")(windows(), draws(c3=1.0), 1.0)
    step = 6 / 20 * np.log(10) / 6
    np.testing.assert_allclose(result, windows() + step, atol=1e-6)


def test_shift_by_hand():
    # Four frames later, preceded by silence.
    shift = augmentation("shift_frames")
    later = shift(windows(), draws(c4=1.0), 1.0).numpy()
    np.testing.assert_array_equal(later[:, 4:], windows()[:, :-4])
    floor = config_lib.load("tiny").log_floor
    silence = np.clip((floor - MEAN[0]) / (3 * STD[0]), -1, 1)
    np.testing.assert_allclose(later[:, :4], silence, rtol=1e-6)
    earlier = shift(windows(), draws(c4=0.0), 1.0).numpy()
    np.testing.assert_array_equal(earlier[:, :-4], windows()[:, 4:])


def test_masks_by_hand():
    # The longest stretch of 8 frames at the end, a band of 8 at the start.
    masked = augmentation("mask_frames", "mask_bins")(
        windows(), draws(c5=0.9999, c6=0.9999, c7=0.9999, c8=0.0), 1.0
    ).numpy()
    assert (masked[:, 8:] == 0).all() and (masked[:, :, :8] == 0).all()
    np.testing.assert_array_equal(masked[:, :8, 8:], windows()[:, :8, 8:])


def test_gradients_reach_the_windows():
    variable = tf.Variable(windows())
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(augmentation()(variable, draws(), 1.0))
    gradient = tape.gradient(total, variable).numpy()
    assert (gradient != 0).any(axis=(1, 2)).all()


def test_the_probability_rises_above_the_target_and_falls_below_it():
    # By one batch of 8 in 80 windows, and never out of [0, 0.8].
    config = config_lib.load(
        "tiny", ["augment.target=0.6", "augment.adjust_windows=80"]
    )

    def following(p, separation):
        return float(augment.next_probability(p, separation, 8.0, config))

    assert following(0.1, 0.7) == pytest.approx(0.2)
    assert following(0.1, 0.5) == pytest.approx(0.0)
    assert following(0.0, 0.5) == 0
    assert following(0.75, 0.7) == pytest.approx(0.8)
    assert following(0.8, 0.7) == pytest.approx(0.8)
