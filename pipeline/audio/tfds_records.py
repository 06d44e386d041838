"""Audio in the TFRecord files of TensorFlow Datasets (TFDS).

Each record is one recording. Its path, `tfrecord:FILE?offset=...`, contains the
location of the record and the encoding of its audio. A worker can therefore
read it without TensorFlow and without the code that prepared the data set.
"""

import dataclasses
import urllib.parse
import zlib
from typing import Any

import numpy as np

_SCHEME = "tfrecord:"


@dataclasses.dataclass(frozen=True)
class StoredAudio:
    """How a data set stores its audio.

    Attributes:
      feature: name of the audio feature.
      encoding: `file` for the bytes of an audio file, otherwise TFDS's
        encoding of the samples: `none`, `bytes` or `zlib`.
      dtype: NumPy type of the samples.
      channels: number of channels.
      rate_hz: sample rate; 0 if the audio file contains it.
    """

    feature: str
    encoding: str
    dtype: str
    channels: int
    rate_hz: int


@dataclasses.dataclass(frozen=True)
class RecordAudio:
    """The audio of one record: either `encoded` or `samples` is None.

    Attributes:
      encoded: bytes of an audio file.
      samples: integers or floats [N, C].
      rate_hz: sample rate of `samples`.
    """

    encoded: bytes | None
    samples: np.ndarray | None
    rate_hz: int


def record_path(file: str, offset: int, size: int, audio: StoredAudio) -> str:
    """The path of a record.

    Args:
      file: path of the TFRecord file.
      offset: first byte of the record's data in the file.
      size: size of the data in bytes.
      audio: how the audio is stored.
    """
    query = urllib.parse.urlencode(
        {
            "offset": offset,
            "bytes": size,
            "audio": audio.feature,
            "stored": audio.encoding,
            "dtype": audio.dtype,
            "channels": audio.channels,
            "rate": audio.rate_hz,
        }
    )
    return f"{_SCHEME}{urllib.parse.quote(file)}?{query}"


def is_record_path(path: str) -> bool:
    """Whether `record_path` made this path."""
    return path.startswith(_SCHEME)


def read_record(path: str) -> RecordAudio:
    """Reads the audio of a record.

    Args:
      path: from `record_path`.

    Raises:
      OSError: if the record cannot be read.
    """
    quoted_file, _, query = path.removeprefix(_SCHEME).partition("?")
    fields = dict(urllib.parse.parse_qsl(query))
    file = urllib.parse.unquote(quoted_file)
    with open(file, "rb") as stream:
        stream.seek(int(fields["offset"]))
        data = stream.read(int(fields["bytes"]))
    try:
        feature = parse_example(data)[fields["audio"]]
    except Exception as error:
        raise OSError(0, f"damaged record: {error}", file) from error
    rate_hz = int(fields["rate"])
    if fields["stored"] == "file":
        return RecordAudio(feature.bytes_list.value[0], None, rate_hz)
    samples = _samples(feature, fields["stored"], fields["dtype"])
    samples = samples.reshape(-1, int(fields["channels"]))
    return RecordAudio(None, samples, rate_hz)


def parse_example(data: bytes) -> Any:
    """The features of a serialised `tf.train.Example`, by name."""
    # TFDS has its own copy of the message, which does not need TensorFlow.
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example.FromString(data).features.feature


def _samples(feature: Any, encoding: str, dtype: str) -> np.ndarray:
    """The samples of a feature, [N * C]."""
    if encoding in ("bytes", "zlib"):
        data = feature.bytes_list.value[0]
        data = zlib.decompress(data) if encoding == "zlib" else data
        samples = np.frombuffer(data, dtype)
    else:
        values = feature.float_list.value or feature.int64_list.value
        samples = np.array(values, dtype)
    if samples.dtype != np.int64:
        return samples
    # The integers have the range of the file's samples: 16 bits, or 32 bits
    # (also for 24-bit files).
    is_wide = len(samples) and np.abs(samples).max() > 1 << 15
    return samples.astype(np.int32 if is_wide else np.int16)
