"""tensorflow-io, if `audio.decoder` is `tfio`."""

import numpy as np

from pipeline.audio.errors import AudioError
from pipeline.audio.samples import as_float
from stftgan_tf.errors import first_line


class TfioDecoder:
    """tensorflow-io, for a local path."""

    slack = 0
    notes = ()

    def __init__(self, path: str):
        # Imported here because the other decoders must not load TensorFlow.
        import tensorflow as tf
        import tensorflow_io as tfio

        self._op_error = tf.errors.OpError
        try:
            self._audio = tfio.audio.AudioIOTensor(path)
            self.rate_hz = int(self._audio.rate.numpy())
            shape = self._audio.shape.numpy()
        except (self._op_error, ValueError, NotImplementedError) as error:
            raise AudioError(f"undecodable: {first_line(error)}") from error
        self.frames, self.channels = int(shape[0]), int(shape[1])

    def read(self, start: int, count: int) -> np.ndarray:
        """Up to `count` frames from `start`, float32 [frames, channels]."""
        stop = min(start + count, self.frames)
        if start >= stop:
            return np.zeros((0, self.channels), np.float32)
        try:
            samples = self._audio[start:stop].numpy()
        except (self._op_error, ValueError) as error:
            raise AudioError(f"undecodable: {first_line(error)}") from error
        return as_float(samples)
