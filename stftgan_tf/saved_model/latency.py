"""How long an export takes to generate samples."""

import time

from stftgan_tf.saved_model.loading import LoadedModel


def call_secs(model: LoadedModel, batch: int, calls: int = 5) -> list[float]:
    """Seconds of each call that generates `batch` samples.

    A first call, which traces and allocates, is not counted.
    """
    times = []
    for call in range(calls + 1):
        start = time.perf_counter()
        next(model.batches(call * batch, batch, batch))
        times.append(time.perf_counter() - start)
    return times[1:]
