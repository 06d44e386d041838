import numpy as np
import pytest
import scipy.fft
from threadpoolctl import threadpool_limits

from stftgan_tf import config as config_lib
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.metrics import embedding


@pytest.fixture(scope="module")
def moments():
    rng = np.random.default_rng(0)
    return Moments(
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
def test_few_windows_give_few_dimensions(tiny, moments, count, times):
    # Other windows of the same kind are then about equally far apart.
    real = np.tile(windows(count), (times, 1, 1))
    space = embedding.fit(real, moments, tiny)
    vectors = space(windows(50, 1))
    assert vectors.shape == (50, count // 4)
    assert 0.2 < vectors.std() / space(real).std() < 1.5


def test_equal_windows_are_one_point(tiny, moments):
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


def sound(at, level=0.0, seed=0, frames=20, bands=40):
    """Log-mel [1, frames, bands] of silence with 6 frames of sound at `at`."""
    rng = np.random.default_rng(seed)
    values = np.full((frames, bands), -9.0)
    values[at : at + 6] = rng.uniform(-4, -1, (6, bands)) + level
    return np.float32(values[None])


def test_cepstra_by_hand():
    log_mel = sound(7)[0]
    mfccs = embedding.cepstra(log_mel[None]).numpy().reshape(20, 13)
    audible = np.maximum(log_mel - log_mel.max() + np.log(100), 0)
    expected = scipy.fft.dct(audible, axis=1, norm="ortho")[:, 1:14]
    # The centre of the sound, about frame 9.5, is moved to frame 10.
    centre = round((audible.sum(axis=1) @ np.arange(20)) / audible.sum())
    np.testing.assert_allclose(
        mfccs, np.roll(expected, 10 - centre, axis=0), atol=1e-4
    )


def test_cepstra_ignore_level_and_position():
    first, second = embedding.cepstra(np.concatenate([sound(3), sound(11)]))
    np.testing.assert_allclose(first, second, atol=1e-4)
    quiet = embedding.cepstra(sound(3, level=-2.0))[0]
    np.testing.assert_allclose(first, quiet, atol=1e-3)
    different = embedding.cepstra(sound(3, seed=1))[0]
    assert np.abs(first - different).max() > 1
    # The frames that are moved in are silent.
    np.testing.assert_array_equal(first[: 13 * 5], 0)


def test_cepstra_of_silence_and_of_one_frame_are_finite():
    assert np.isfinite(
        embedding.cepstra(np.zeros((1, 8, 40), np.float32))
    ).all()
    assert embedding.cepstra(sound(0, frames=6)[:, :1]).shape == (1, 13)


def test_the_embedding_does_not_depend_on_the_number_of_threads(tiny, moments):
    several = embedding.fit(windows(330), moments, tiny)
    with threadpool_limits(1):
        single = embedding.fit(windows(330), moments, tiny)
    np.testing.assert_array_equal(several.components, single.components)


def test_batches_are_joined_in_order():
    rows = np.arange(10, dtype=np.float32)
    sizes = []

    def function(batch):
        sizes.append(len(batch))
        return {"same": batch, "double": 2 * batch}

    result = embedding.in_batches(function, rows, 4)
    np.testing.assert_array_equal(result["same"], rows)
    np.testing.assert_array_equal(result["double"], 2 * rows)
    assert sizes == [4, 4, 2]
