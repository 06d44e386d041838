"""Limits of an export's audio. Needs no TensorFlow."""

from stftgan_tf.errors import UsageError

# All windows of a row are in memory at once.
_MAX_LONG_SECS = 600.0


def check_long_secs(secs: float) -> None:
    """Raises UsageError if the signature `long` cannot have this duration."""
    if not 0 < secs <= _MAX_LONG_SECS:
        raise UsageError(
            f"secs is {secs}; expected above 0, at most {_MAX_LONG_SECS:g}"
        )
