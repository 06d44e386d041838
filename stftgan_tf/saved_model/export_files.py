"""The files of an export. Needs no TensorFlow."""

from pathlib import Path

from stftgan_tf.files import DirectoryKind

METADATA = "metadata.json"
CARD = "model_card.md"
MAP = "map.json"
WARMUP = Path("assets.extra", "tf_serving_warmup_requests")

EXPORT = DirectoryKind(
    METADATA,
    (
        METADATA,
        "saved_model.pb",
        "fingerprint.pb",
        CARD,
        MAP,
        "batching_parameters.txt",
        "variables/*",
        "assets/*",
        str(WARMUP),
    ),
    '"sample_rate_hz"',
)
