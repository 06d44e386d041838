"""The schema of the records, for TFX and TensorFlow Data Validation."""

import numpy as np
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from stftgan_tf.config import Config
from stftgan_tf.data import records


def schema(config: Config, labels: list[str]) -> str:
    """`schema.pbtxt`: a tensorflow_metadata Schema of the records."""
    types = {
        "float": schema_pb2.FLOAT,
        "int64": schema_pb2.INT,
        "bytes": schema_pb2.BYTES,
    }
    message = schema_pb2.Schema()
    for name, kind in records.FIELDS.items():
        feature = message.feature.add(name=name, type=types[kind])
        feature.presence.min_fraction = 1.0
        for size in config.window_shape if name == "window" else (1,):
            feature.shape.dim.add(size=size)
    _domains({f.name: f for f in message.feature}, config, labels)
    return text_format.MessageToString(message)


def _domains(
    named: dict[str, schema_pb2.Feature], config: Config, labels: list[str]
) -> None:
    """Limits the values that the features may have."""
    window = named["window"].float_domain
    window.name, window.min = "window", float(np.float32(config.log_floor))
    window.disallow_nan = window.disallow_inf = True
    label = named["label"].int_domain
    label.name, label.is_categorical = "label", True
    label.min, label.max = records.UNKNOWN_LABEL, len(labels) - 1
    rate = named["sample_rate_hz"].int_domain
    rate.name = "sample_rate_hz"
    rate.min = rate.max = config.audio.sample_rate_hz
    named["window_index"].int_domain.min = 0
