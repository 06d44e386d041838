import numpy as np
import pytest

from stftgan_tf import config as config_lib
from stftgan_tf.dsp import graph_stft, pghi, phase, stft
from stftgan_tf.dsp.moments import CLIP_SIGMAS, Moments


@pytest.fixture(scope="module")
def magnitudes(config, speech):
    """Magnitudes [4, T, F + 1] of windows of speech."""
    size = config.window_samples
    rows = speech[: 4 * size].reshape(4, size)
    return np.stack([np.abs(stft.forward(r, config.stft)) for r in rows])


def convergence_db(audio, magnitudes, config):
    """Mean spectral convergence of rows (Sturmel & Daudet 2011)."""
    values = []
    for row, expected in zip(np.array(audio), magnitudes, strict=True):
        actual = np.abs(stft.forward(row, config.stft))
        error = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
        values.append(20 * np.log10(error))
    return np.mean(values)


def inverse(magnitudes, phases, config):
    """Audio [B, N] of magnitudes with the cosines and sines of phases."""
    parts = (magnitudes * part for part in phases)
    return graph_stft.GraphStft(config.stft).inverse(*parts)


def test_griffin_lim_meets_magnitudes_and_more_iterations_help(
    config, magnitudes
):
    few = phase.griffin_lim(magnitudes, config.stft, 2)
    many = phase.griffin_lim(magnitudes, config.stft, 32)
    assert many.shape == (4, config.window_samples)
    few_db = convergence_db(few, magnitudes, config)
    many_db = convergence_db(many, magnitudes, config)
    assert many_db < min(-18, few_db - 2), (few_db, many_db)


def test_integrated_phase_is_near_without_iterations(config, magnitudes):
    phases = phase.integrated(magnitudes, config.stft)
    np.testing.assert_allclose(np.hypot(*phases), 1, atol=1e-5)
    audio = inverse(magnitudes, phases, config)
    zero_phase = inverse(magnitudes, (1, 0), config)
    integrated_db = convergence_db(audio, magnitudes, config)
    zero_db = convergence_db(zero_phase, magnitudes, config)
    assert integrated_db < min(-10, zero_db - 6), (integrated_db, zero_db)


def test_heap_integration_is_nearer_than_integration_in_the_graph(
    config, magnitudes
):
    row = magnitudes[:1]
    heap_unit = pghi.integrated(row, config.stft)
    np.testing.assert_allclose(np.abs(heap_unit), 1, atol=1e-5)
    heap_phases = heap_unit.real, heap_unit.imag
    heap_db, graph_db = (
        convergence_db(inverse(row, phases, config), row, config)
        for phases in (heap_phases, phase.integrated(row, config.stft))
    )
    assert heap_db < graph_db - 1, (heap_db, graph_db)


@pytest.mark.parametrize("hz", [437.0, 3111.0])
def test_a_steady_sine_is_reconstructed(config, hz):
    """The phase advances by the frequency, which no bin is centred on."""
    rate = config.audio.sample_rate_hz
    sine = np.sin(2 * np.pi * hz * np.arange(config.window_samples) / rate)
    magnitudes = np.abs(stft.forward(np.float32(0.5 * sine), config.stft))[None]
    phases = phase.integrated(magnitudes, config.stft)
    audio = inverse(magnitudes, phases, config)
    assert convergence_db(audio, magnitudes, config) < -20


# 400 samples make 200 bins, which is not a whole number of vectors.
@pytest.mark.parametrize("length", [256, 400])
def test_rows_are_independent(speech, length):
    config = config_lib.load(
        "digits8k", [f"stft.frame_length={length}", "stft.frame_step=50"]
    )
    size = config.window_samples
    rows = speech[: 5 * size].reshape(5, size)
    magnitudes = np.stack([np.abs(stft.forward(r, config.stft)) for r in rows])
    together = phase.griffin_lim(magnitudes, config.stft, 4).numpy()
    for row in range(5):
        alone = phase.griffin_lim(magnitudes[row : row + 1], config.stft, 4)
        np.testing.assert_array_equal(together[row], alone.numpy()[0])


def test_a_known_phase_is_kept(config, speech):
    """Starting from a recording's own phase the recording comes back."""
    config = config_lib.from_dict(
        config.to_dict(), ["model.griffin_lim_iterations=1"]
    )
    samples = 0.7 * speech[4000 : 4000 + config.window_samples]
    stfts = stft.forward(samples, config.stft)
    start = np.float32([np.cos(np.angle(stfts)), np.sin(np.angle(stfts))])
    start = start[:, None]
    magnitudes = np.abs(stfts)[None]
    audio = phase.magnitudes_to_audio(magnitudes, config, start).numpy()[0]
    inner = slice(config.stft.frame_length, -config.stft.frame_length)
    error = np.linalg.norm((audio - samples)[inner])
    assert error < 0.01 * np.linalg.norm(samples[inner])


def test_matrix_products_give_the_same_audio(config, magnitudes):
    matrices = graph_stft.MatrixStft(config.stft)
    pairs = [
        phase.magnitudes_to_audio(magnitudes, config, transform=transform)
        for transform in (None, matrices)
    ]
    error = np.linalg.norm(pairs[0] - pairs[1])
    assert error < 1e-2 * np.linalg.norm(pairs[0])


def test_rounding_errors_stay_small(config, magnitudes):
    """Other processors compute slightly different windows."""
    noise = np.random.default_rng(0).uniform(-1, 1, magnitudes.shape)
    changed = np.float32(magnitudes * (1 + 3e-7 * noise) + 1e-10 * noise)
    pairs = [
        phase.griffin_lim(rows, config.stft, 24)
        for rows in (magnitudes, np.abs(changed))
    ]
    error = np.linalg.norm(pairs[0] - pairs[1], axis=1)
    assert (error < 1e-2 * np.linalg.norm(pairs[0], axis=1)).all()


def test_starting_from_zero_phase_is_worse(config, magnitudes):
    few = config_lib.from_dict(
        config.to_dict(), ["model.griffin_lim_iterations=2"]
    )
    zero = config_lib.from_dict(few.to_dict(), ["model.phase=griffin_lim"])
    integrated_db, zero_db = (
        convergence_db(phase.magnitudes_to_audio(magnitudes, c), magnitudes, c)
        for c in (few, zero)
    )
    assert integrated_db < zero_db - 3, (integrated_db, zero_db)


def test_silence_stays_silent_and_finite(config):
    silence = np.zeros((1, *np.add(config.window_shape, (0, 1))), np.float32)
    audio = phase.griffin_lim(silence, config.stft, 8).numpy()
    assert not audio.any()


def test_windows_slightly_above_the_floor_are_silent(config):
    moments = Moments.neutral(config)
    logs = np.full((1, *config.window_shape), config.log_floor + 0.04)
    scaled = np.float32(logs / CLIP_SIGMAS)
    assert not phase.windows_to_audio(scaled, moments, config).numpy().any()
    noise = config_lib.from_dict(config.to_dict(), ["model.subtract_floor=0"])
    assert phase.windows_to_audio(scaled, moments, noise).numpy().any()


def test_loud_audio_is_attenuated_instead_of_clipped(config):
    loud = np.ones((1, *config.window_shape), np.float32)
    moments = Moments.neutral(config)
    audio = phase.windows_to_audio(loud, moments, config).numpy()
    assert np.abs(audio).max() == pytest.approx(phase.PEAK_LIMIT, rel=1e-5)
