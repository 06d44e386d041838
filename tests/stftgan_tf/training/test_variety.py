import numpy as np
import pytest

from stftgan_tf.dsp.moments import Moments
from stftgan_tf.errors import UserError
from stftgan_tf.metrics import embedding, registry
from stftgan_tf.training.variety import VarietyMeter


def random_windows(seed, count=200):
    rng = np.random.default_rng(seed)
    return np.float32(rng.uniform(-1, 1, (count, 16, 32)))


def meter_of(config, training):
    moments = Moments.neutral(config)
    embed = embedding.fit(training, moments, config)
    return VarietyMeter(config, embed, training)


def test_the_metrics_are_those_of_the_registry(tiny):
    meter, windows = meter_of(tiny, random_windows(0)), random_windows(1, 64)
    metrics = meter.measure(windows)
    # The watch itself measures the last one.
    assert set(metrics) == {m.name for m in registry.WATCH} - {"latent_scale"}
    assert metrics["frechet"] == meter.frechet(windows) > 0
    assert metrics["variety"] == min(
        metrics["diversity_ratio"], metrics["nearest_ratio"]
    )


def test_repeated_windows_have_no_variety_and_real_ones_do(tiny):
    real = random_windows(0)
    meter = meter_of(tiny, real)
    healthy = meter.measure(real[50:114])
    assert healthy["variety"] > 0.9 and healthy["coverage"] > 0.3
    # All of them are training windows.
    assert healthy["memorised"] == 1.0
    repeated = meter.measure(np.repeat(real[:4], 16, axis=0))
    assert repeated["variety"] < 0.01 < 0.5 < repeated["diversity_ratio"]


def test_recordings_that_occur_twice_do_not_hide_repetition(tiny):
    meter = meter_of(tiny, np.tile(random_windows(0), (2, 1, 1)))
    varied = random_windows(1)
    assert 0.3 < meter.measure(varied)["nearest_ratio"] < 1.5
    repeated = np.tile(varied[:20], (10, 1, 1))
    assert meter.measure(repeated)["nearest_ratio"] < 0.1


def test_equal_training_windows_are_refused(tiny):
    with pytest.raises(UserError, match="all training windows are equal"):
        meter_of(tiny, np.tile(random_windows(0, 1), (20, 1, 1)))
