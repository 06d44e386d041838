import numpy as np
import pytest

from pipeline.beam.statistics import PartialMoments


@pytest.fixture(scope="module")
def frames(tiny):
    rng = np.random.default_rng(0)
    spread = rng.normal(-4, 1.5, (1000, tiny.stft.bins))
    return np.float32(np.maximum(spread, tiny.log_floor))


def moments_of(frames, config, counts=None):
    moments = PartialMoments.empty(config.stft.bins)
    moments.add(frames, config, counts)
    return moments


def test_merged_moments_are_those_of_the_whole(tiny, frames):
    merged = PartialMoments.empty(tiny.stft.bins)
    for part in np.split(frames, [1, 7, 400]):
        merged.merge(moments_of(part, tiny))
    wide = frames.astype(np.float64)
    assert merged.count == 1000
    np.testing.assert_allclose(merged.mean, wide.mean(0), rtol=1e-12)
    np.testing.assert_allclose(merged.std, wide.std(0), rtol=1e-12)
    np.testing.assert_array_equal(merged.low, wide.min(0))
    np.testing.assert_array_equal(merged.high, wide.max(0))
    # Every second frame of each part, because two frames overlap.
    assert (merged.histogram.sum(axis=1) == 1 + 3 + 197 + 300).all()


def test_a_large_offset_does_not_cancel(tiny):
    wide = 1e6 + np.float64([[0.0], [1.0], [2.0]]) * np.ones(tiny.stft.bins)
    merged = moments_of(wide[:1], tiny)
    merged.merge(moments_of(wide[1:], tiny))
    np.testing.assert_allclose(merged.std, np.sqrt(2 / 3), rtol=1e-9)


def test_a_frame_counts_once_per_window_that_contains_it(tiny, frames):
    counts = np.arange(1000) % 3 + 1
    moments = moments_of(frames, tiny, counts)
    repeated = moments_of(np.repeat(frames, counts, axis=0), tiny)
    assert moments.count == repeated.count
    np.testing.assert_allclose(moments.mean, repeated.mean, rtol=1e-12)
    np.testing.assert_allclose(moments.std, repeated.std, rtol=1e-12)
    # The histogram takes every second frame, of the repeated ones too.
    twice = np.repeat(frames[::2], 2 * counts[::2], axis=0)
    expected = moments_of(twice, tiny).histogram
    np.testing.assert_array_equal(moments.histogram, expected)


def test_merging_no_frames(tiny):
    empty = PartialMoments.empty(tiny.stft.bins)
    empty.merge(PartialMoments.empty(tiny.stft.bins))
    assert empty.count == 0
    assert not empty.std.any()


def test_share_above_three_sigma(tiny, frames):
    moments = moments_of(frames, tiny)
    wide = frames.astype(np.float64)
    clipped = np.abs(wide - wide.mean(0)) > 3 * wide.std(0)
    exact = clipped[::2].mean()
    assert moments.clipped_share(tiny) == pytest.approx(exact, abs=5e-4)


def test_moments_as_plain_values(tiny, frames):
    values = moments_of(frames, tiny).to_dict()
    assert values["frames"] == 1000
    assert len(values["mean"]) == len(values["std"]) == tiny.stft.bins
