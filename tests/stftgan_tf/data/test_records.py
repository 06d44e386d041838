import hashlib

import numpy as np
import tensorflow as tf

from stftgan_tf.data import records as example_io

RECORD = {
    "window": np.float32([[0.5, -1.5], [3e-9, 7.0]]),
    "window_index": 300,
    "label": -1,
    "sample_rate_hz": 16000,
    "recording_id": "a/ü.wav".encode(),
    "speaker": b"",
    "dataset": b"digits",
}


def test_tensorflow_reads_the_record():
    example = tf.train.Example.FromString(example_io.encode(RECORD))
    features = example.features.feature
    assert sorted(features) == sorted(example_io.FIELDS)
    window = np.float32(features["window"].float_list.value)
    np.testing.assert_array_equal(window, RECORD["window"].ravel())
    for name in ("window_index", "label", "sample_rate_hz"):
        assert list(features[name].int64_list.value) == [RECORD[name]]
    for name in ("recording_id", "speaker", "dataset"):
        assert list(features[name].bytes_list.value) == [RECORD[name]]


def test_the_record_is_tensorflows_own_size():
    data = example_io.encode(RECORD)
    example = tf.train.Example.FromString(data)
    assert len(example.SerializeToString()) == len(data)


def test_tensorflow_reads_the_file_and_its_checksums(tmp_path):
    path = tmp_path / "shard"
    with open(path, "wb") as file:
        writer = example_io.ShardWriter(file)
        for text in (b"", b"one", b"x" * 100_000):
            writer.write(text)
    assert writer.records == 3
    assert writer.bytes == path.stat().st_size
    assert writer.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    read = [r.numpy() for r in tf.data.TFRecordDataset(str(path))]
    assert read == [b"", b"one", b"x" * 100_000]


def test_the_file_is_tensorflows_byte_for_byte(tmp_path):
    data = example_io.encode(RECORD)
    with open(tmp_path / "ours", "wb") as file:
        writer = example_io.ShardWriter(file)
        writer.write(data)
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        writer.write(data)
    ours = (tmp_path / "ours").read_bytes()
    assert ours == (tmp_path / "theirs").read_bytes()


def test_shards_are_named_as_tfx_names_them():
    name = example_io.shard_name("train", 3, 12)
    assert name == "Split-train/data_tfrecord-00003-of-00012"
