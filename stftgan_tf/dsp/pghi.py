"""Phase gradient heap integration, the offline reference for phase.

It is slower than `phase.integrated` and cannot run in a TensorFlow graph, but
the phase is better. With numba installed the inner loop is compiled.
"""

import heapq

import numpy as np

from stftgan_tf.config import StftConfig
from stftgan_tf.dsp import phase

try:
    from numba import njit
except ImportError:

    def njit(function):
        """Returns the function unchanged."""
        return function


# Bins this far below the largest one are skipped and keep phase 0.
_TOLERANCE = 1e-6


def integrated(magnitudes: np.ndarray, config: StftConfig) -> np.ndarray:
    """Integrates the phase gradients that magnitudes imply, strongest first.

    Prusa et al. 2017, "A Noniterative Method for Reconstruction of Phase from
    STFT Magnitude", algorithm 1. Like `phase.integrated`, the result is a
    starting point for `phase.griffin_lim`.

    Args:
      magnitudes: float32 [B, T, F + 1].
      config: frame length and step.

    Returns:
      Unit complex64 [B, T, F + 1].
    """
    gradients = phase.gradients(magnitudes, config)
    logs, in_time, in_frequency = (np.float64(x) for x in gradients)
    rows = zip(logs, in_time, in_frequency, strict=True)
    phases = np.stack([_integrate_row(*row) for row in rows])
    # The STFT refers phases to the start of a frame, gradients to its middle.
    phases += np.pi * (np.arange(magnitudes.shape[-1]) % 2)
    return np.exp(1j * phases).astype(np.complex64)


@njit
def _integrate_row(logs, in_time, in_frequency):
    """Phases [T, F] of one row's log-magnitudes and gradients [T, F]."""
    frames, bins = logs.shape
    phases = np.zeros((frames, bins))
    done = logs < logs.max() + np.log(_TOLERANCE)
    for first in np.argsort(-logs.ravel()):
        if done[first // bins, first % bins]:
            continue
        done[first // bins, first % bins] = True
        heap = [(-logs[first // bins, first % bins], first)]
        while heap:
            place = heapq.heappop(heap)[1]
            t, f = place // bins, place % bins
            for step in (-1, 1):
                near = t + step
                if 0 <= near < frames and not done[near, f]:
                    turn = (in_time[t, f] + in_time[near, f]) / 2
                    phases[near, f] = phases[t, f] + step * turn
                    done[near, f] = True
                    heapq.heappush(heap, (-logs[near, f], near * bins + f))
                near = f + step
                if 0 <= near < bins and not done[t, near]:
                    turn = (in_frequency[t, f] + in_frequency[t, near]) / 2
                    phases[t, near] = phases[t, f] + step * turn
                    done[t, near] = True
                    heapq.heappush(heap, (-logs[t, near], t * bins + near))
    return phases
