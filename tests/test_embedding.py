import numpy as np
import pytest

from stftgan_tf import config as config_lib
from stftgan_tf import embedding, features


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
    space = embedding.fit(windows(100), moments, tiny)
    assert space.components.shape == (16 * 32, 64)
    logs = windows(3, 1) * 3 * moments.std + moments.mean
    mel = np.exp(logs) @ embedding.mel_matrix(tiny)
    expected = np.log(mel + np.exp(tiny.log_floor)).reshape(3, -1)
    expected = (expected - space.mean) @ space.components
    np.testing.assert_allclose(space(windows(3, 1)), expected, atol=1e-3)


def test_directions_are_orthogonal_and_equally_spread(tiny, moments):
    space = embedding.fit(windows(200), moments, tiny)
    norms = np.linalg.norm(space.components, axis=0)
    unit = space.components / norms
    np.testing.assert_allclose(unit.T @ unit, np.eye(64), atol=1e-4)
    # Those that vary most come first, and are scaled down most.
    assert (np.diff(norms) > -1e-4).all()
    spread = space(windows(200)).std(axis=0, ddof=1)
    np.testing.assert_allclose(spread, 1, atol=1e-2)


def test_few_windows_make_a_small_space(tiny, moments):
    assert embedding.fit(windows(5), moments, tiny)(windows(2)).shape == (2, 5)


def test_mel_bands_are_triangles_that_cover_the_spectrum():
    config = config_lib.load("digits8k")
    matrix = embedding.mel_matrix(config)
    assert matrix.shape == (128, 40)
    assert (matrix >= 0).all() and matrix.max() <= 1
    peaks = matrix.argmax(axis=0)
    assert (np.diff(peaks) >= 0).all()
    assert peaks[0] * 31.25 < 150 and peaks[-1] * 31.25 > 3700
