import hashlib

import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf.data import records

RECORD = {
    "window": np.float32([[0.5, -1.5], [3e-9, 7.0]]),
    "window_index": 300,
    "label": -1,
    "sample_rate_hz": 16000,
    "recording_id": "a/ü.wav".encode(),
    "speaker": b"",
    "dataset": b"digits",
}


def test_tensorflow_parses_an_encoded_record():
    data = records.encode(RECORD)
    example = tf.train.Example.FromString(data)
    assert len(example.SerializeToString()) == len(data)
    features = example.features.feature
    assert sorted(features) == sorted(records.FIELDS)
    window = np.float32(features["window"].float_list.value)
    np.testing.assert_array_equal(window, RECORD["window"].ravel())
    for name in ("window_index", "label", "sample_rate_hz"):
        assert list(features[name].int64_list.value) == [RECORD[name]]
    for name in ("recording_id", "speaker", "dataset"):
        assert list(features[name].bytes_list.value) == [RECORD[name]]


@pytest.mark.parametrize("more", [b"", b"\x10\x01", b"\x0d\x00\x00\x80\x3f"])
def test_floats_of_other_writers_are_decoded(more):
    """`more` adds nothing, an unknown field, or 1.0 without packing."""
    floats = b"\x0a\x08\x00\x00\x00\x40\x00\x00\x40\x40" + more
    example = tf.train.Example()
    feature = example.features.feature["window"]
    feature.float_list.MergeFromString(floats)
    window = records.decode(example.SerializeToString())["window"]
    assert window.dtype == np.float32
    assert window.tolist() == [2, 3] + [1] * (len(more) == 5)


def test_a_decoded_record_is_the_encoded_one():
    decoded = records.decode(records.encode(RECORD))
    window = decoded.pop("window").reshape(2, 2)
    np.testing.assert_array_equal(window, RECORD["window"])
    assert decoded == {k: v for k, v in RECORD.items() if k != "window"}
    with pytest.raises(ValueError, match=r"not a tf\.train\.Example"):
        records.decode(b"text")


def test_files_are_tensorflows_byte_for_byte(tmp_path):
    contents = [b"", b"one", b"x" * 100_000, records.encode(RECORD)]
    path, reference = tmp_path / "shard", tmp_path / "reference"
    with open(path, "wb") as file:
        writer = records.ShardWriter(file)
        for data in contents:
            writer.write(data)
    with tf.io.TFRecordWriter(str(reference)) as tf_writer:
        for data in contents:
            tf_writer.write(data)
    assert path.read_bytes() == reference.read_bytes()
    assert writer.records == 4
    assert writer.bytes == path.stat().st_size
    assert writer.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with open(path, "rb") as file:
        assert list(records.read_records(file)) == contents


def test_shards_have_the_names_that_tfx_gives():
    name = records.shard_name("train", 3, 12)
    assert name == "Split-train/data_tfrecord-00003-of-00012"
