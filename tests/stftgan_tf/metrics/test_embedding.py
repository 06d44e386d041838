import numpy as np
import pytest
import scipy.fft
from threadpoolctl import threadpool_limits

from stftgan_tf import config as config_lib
from stftgan_tf.dsp import features
from stftgan_tf.metrics import embedding


@pytest.fixture(scope="module")
def moments():
    rng = np.random.default_rng(0)
    return features.Moments(
        np.float32(rng.uniform(-5, -1, 32)), np.float32(rng.uniform(0.5, 2, 32))
    )


def windows(count, seed=0):
    rng = np.random.default_rng(seed)
    return np.float32(rng.uniform(-1, 1, (count, 16, 32)))


def test_embeddings_by_hand(tiny, moments):
    space = embedding.fit(windows(256), moments, tiny)
    assert space.components.shape == (16 * 32, 64)
    logs = windows(3, 1) * 3 * moments.std + moments.mean
    mel = np.exp(logs) @ embedding.mel_matrix(tiny)
    expected = np.log(mel + np.exp(tiny.log_floor)).reshape(3, -1)
    expected = (expected - space.mean) @ space.components
    np.testing.assert_allclose(space(windows(3, 1)), expected, atol=1e-3)


def test_directions_are_orthogonal_and_equally_spread(tiny, moments):
    space = embedding.fit(windows(300), moments, tiny)
    norms = np.linalg.norm(space.components, axis=0)
    unit = space.components / norms
    np.testing.assert_allclose(unit.T @ unit, np.eye(64), atol=1e-4)
    # Those that vary most come first, and are scaled down most.
    assert (np.diff(norms) > -1e-4).all()
    spread = space(windows(300)).std(axis=0, ddof=1)
    np.testing.assert_allclose(spread, 1, atol=1e-2)


@pytest.mark.parametrize("count", [20, 40, 64, 80])
@pytest.mark.parametrize("times", [1, 3])
def test_few_windows_make_a_small_space(tiny, moments, count, times):
    # In which others of their kind lie about as far apart as they do.
    real = np.tile(windows(count), (times, 1, 1))
    space = embedding.fit(real, moments, tiny)
    found = space(windows(50, 1))
    assert found.shape == (50, count // 4)
    assert 0.2 < found.std() / space(real).std() < 1.5


def test_one_kind_of_window_is_one_point(tiny, moments):
    space = embedding.fit(np.tile(windows(1), (9, 1, 1)), moments, tiny)
    np.testing.assert_allclose(space(windows(1)), 0, atol=1e-3)


def test_mel_bands_are_triangles_that_cover_the_spectrum():
    config = config_lib.load("digits8k")
    matrix = embedding.mel_matrix(config)
    assert matrix.shape == (128, 40)
    assert (matrix >= 0).all() and matrix.max() <= 1
    peaks = matrix.argmax(axis=0)
    assert (np.diff(peaks) >= 0).all()
    assert peaks[0] * 31.25 < 150 and peaks[-1] * 31.25 > 3700


def said(at, level=0.0, seed=0, frames=20, bands=40):
    """Log-mel [1, frames, bands]: silence, and at `at` 6 frames of sound."""
    rng = np.random.default_rng(seed)
    values = np.full((frames, bands), -9.0)
    values[at : at + 6] = rng.uniform(-4, -1, (6, bands)) + level
    return np.float32(values[None])


def test_cepstra_by_hand():
    log_mel = said(7)[0]
    found = embedding.cepstra(log_mel[None]).numpy().reshape(20, 13)
    heard = np.maximum(log_mel - log_mel.max() + np.log(100), 0)
    expected = scipy.fft.dct(heard, axis=1, norm="ortho")[:, 1:14]
    # The sound's middle, nearly frame 9.5, comes to frame 10.
    middle = round((heard.sum(axis=1) @ np.arange(20)) / heard.sum())
    np.testing.assert_allclose(
        found, np.roll(expected, 10 - middle, axis=0), atol=1e-4
    )


def test_cepstra_do_not_hear_how_loud_and_when():
    one, other = embedding.cepstra(np.concatenate([said(3), said(11)]))
    np.testing.assert_allclose(one, other, atol=1e-4)
    quiet = embedding.cepstra(said(3, level=-2.0))[0]
    np.testing.assert_allclose(one, quiet, atol=1e-3)
    else_ = embedding.cepstra(said(3, seed=1))[0]
    assert np.abs(one - else_).max() > 1
    # What comes in from outside is silence.
    np.testing.assert_array_equal(one[: 13 * 5], 0)


def test_cepstra_of_silence_and_of_one_frame_are_numbers():
    assert np.isfinite(
        embedding.cepstra(np.zeros((1, 8, 40), np.float32))
    ).all()
    assert embedding.cepstra(said(0, frames=6)[:, :1]).shape == (1, 13)


def test_the_space_does_not_depend_on_the_number_of_threads(tiny, moments):
    ours = embedding.fit(windows(330), moments, tiny)
    with threadpool_limits(1):
        theirs = embedding.fit(windows(330), moments, tiny)
    np.testing.assert_array_equal(ours.components, theirs.components)
