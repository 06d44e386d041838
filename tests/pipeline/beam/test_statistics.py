import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.beam import statistics
from pipeline.beam.statistics import PartialMoments


@pytest.fixture(scope="module")
def frames(tiny):
    rng = np.random.default_rng(0)
    spread = rng.normal(-4, 1.5, (1000, tiny.stft.bins))
    return np.float32(np.maximum(spread, tiny.log_floor))


def of(frames, config, times=None):
    moments = PartialMoments.empty(config.stft.bins)
    moments.add(frames, config, times)
    return moments


def test_merging_is_numpys_answer_for_the_whole(tiny, frames):
    merged = PartialMoments.empty(tiny.stft.bins)
    for part in np.split(frames, [1, 7, 400]):
        merged.merge(of(part, tiny))
    wide = frames.astype(np.float64)
    assert merged.count == 1000
    np.testing.assert_allclose(merged.mean, wide.mean(0), rtol=1e-12)
    np.testing.assert_allclose(merged.std, wide.std(0), rtol=1e-12)
    np.testing.assert_array_equal(merged.low, wide.min(0))
    np.testing.assert_array_equal(merged.high, wide.max(0))
    # Every other frame of each part: two overlap.
    assert (merged.histogram.sum(axis=1) == 1 + 3 + 197 + 300).all()


def test_a_large_offset_does_not_cancel(tiny):
    wide = 1e6 + np.float64([[0.0], [1.0], [2.0]]) * np.ones(tiny.stft.bins)
    merged = of(wide[:1], tiny)
    merged.merge(of(wide[1:], tiny))
    np.testing.assert_allclose(merged.std, np.sqrt(2 / 3), rtol=1e-9)


def test_a_frame_of_several_windows_counts_as_often(tiny, frames):
    times = np.arange(1000) % 3 + 1
    ours = of(frames, tiny, times)
    wanted = of(np.repeat(frames, times, axis=0), tiny)
    assert ours.count == wanted.count
    np.testing.assert_allclose(ours.mean, wanted.mean, rtol=1e-12)
    np.testing.assert_allclose(ours.std, wanted.std, rtol=1e-12)
    # Every other frame of these is every other one of the first.
    twice = np.repeat(frames[::2], 2 * times[::2], axis=0)
    np.testing.assert_array_equal(ours.histogram, of(twice, tiny).histogram)


def test_nothing_merged_with_nothing(tiny):
    empty = PartialMoments.empty(tiny.stft.bins)
    empty.merge(PartialMoments.empty(tiny.stft.bins))
    assert empty.count == 0
    assert not empty.std.any()


def test_share_beyond_three_sigma(tiny, frames):
    moments = of(frames, tiny)
    wide = frames.astype(np.float64)
    beyond = np.abs(wide - wide.mean(0)) > 3 * wide.std(0)
    exact = beyond[::2].mean()
    assert moments.clipped_share(tiny) == pytest.approx(exact, abs=5e-4)


def test_the_schema_says_shapes_and_domains(tiny):
    text = statistics.schema(tiny, ["no", "yes"])
    schema = text_format.Parse(text, schema_pb2.Schema())
    named = {feature.name: feature for feature in schema.feature}
    assert [d.size for d in named["window"].shape.dim] == [16, 32]
    assert named["window"].float_domain.min == np.float32(tiny.log_floor)
    assert named["window"].type == schema_pb2.FLOAT
    label = named["label"].int_domain
    assert (label.min, label.max, label.is_categorical) == (-1, 1, True)
    assert named["speaker"].type == schema_pb2.BYTES


def test_moments_as_plain_values(tiny, frames):
    values = of(frames, tiny).to_dict()
    assert values["frames"] == 1000
    assert len(values["mean"]) == len(values["std"]) == tiny.stft.bins
