import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.models import augment

MEAN, STD = np.full(32, -4.0, np.float32), np.full(32, 2.0, np.float32)


def made(*overrides):
    config = config_lib.load("tiny", overrides)
    return augment.Augment(config, Moments(MEAN, STD))


def only(change):
    """An Augment whose other changes are of size 0."""
    sizes = {"gain_db": 6, "shift_frames": 4, "mask_frames": 8, "mask_bins": 8}
    kept = {"gain": ["gain_db"], "shift": ["shift_frames"]}.get(
        change, ["mask_frames", "mask_bins"]
    )
    return made(
        *(f"augment.{k}={v if k in kept else 0}" for k, v in sizes.items())
    )


def windows(count=5):
    return tf.random.stateless_uniform([count, 16, 32], [0, 0], -0.5, 0.5)


def draws(count=5, **fixed):
    """Uniform draws; `fixed` sets columns: c3=1.0 is the fourth."""
    found = tf.random.stateless_uniform([count, augment.DRAWS], [1, 1]).numpy()
    for name, value in fixed.items():
        found[:, int(name[1:])] = value
    return tf.constant(found)


def test_with_probability_zero_nothing_changes():
    np.testing.assert_array_equal(made()(windows(), draws(), 0.0), windows())


def test_with_probability_one_every_window_changes():
    changed = made()(windows(), draws(), 1.0).numpy()
    assert (changed != windows().numpy()).any(axis=(1, 2)).all()
    assert np.abs(changed).max() <= 1


def test_each_change_has_the_probability():
    p = 0.3
    count = 4000
    ones = tf.ones([count, 16, 32]) * 0.5
    changed = only("gain")(ones, draws(count), p).numpy()
    share = (changed != 0.5).any(axis=(1, 2)).mean()
    assert share == pytest.approx(p, abs=0.03)


def test_gain_by_hand():
    # The largest gain: 6 dB are ln(1.995), of 3 sigma = 6 nepers a unit.
    changed = only("gain")(windows(), draws(c3=1.0), 1.0)
    step = 6 / 20 * np.log(10) / 6
    np.testing.assert_allclose(changed, windows() + step, atol=1e-6)


def test_shift_by_hand():
    # Four frames later; what comes in is silence.
    changed = only("shift")(windows(), draws(c4=1.0), 1.0).numpy()
    np.testing.assert_array_equal(changed[:, 4:], windows()[:, :-4])
    floor = config_lib.load("tiny").log_floor
    silence = np.clip((floor - MEAN[0]) / (3 * STD[0]), -1, 1)
    np.testing.assert_allclose(changed[:, :4], silence, rtol=1e-6)
    earlier = only("shift")(windows(), draws(c4=0.0), 1.0).numpy()
    np.testing.assert_array_equal(earlier[:, :-4], windows()[:, 4:])


def test_masks_by_hand():
    # The largest stretch of 8 frames at the end, a band of 8 at the start.
    masked = only("mask")(
        windows(), draws(c5=0.9999, c6=0.9999, c7=0.9999, c8=0.0), 1.0
    ).numpy()
    assert (masked[:, 8:] == 0).all() and (masked[:, :, :8] == 0).all()
    np.testing.assert_array_equal(masked[:, :8, 8:], windows()[:, :8, 8:])


def test_gradients_reach_the_windows():
    given = tf.Variable(windows())
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(made()(given, draws(), 1.0))
    gradient = tape.gradient(total, given).numpy()
    assert (gradient != 0).any(axis=(1, 2)).all()
