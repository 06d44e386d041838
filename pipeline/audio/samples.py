"""Samples as floats."""

import numpy as np


def as_float(samples: np.ndarray) -> np.ndarray:
    """Samples [N] or [N, C] of any type as float32 [N, C], full scale at 1."""
    if samples.ndim == 1:
        samples = samples[:, None]
    if np.issubdtype(samples.dtype, np.floating):
        return samples.astype(np.float32)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    full_scale = -float(np.iinfo(samples.dtype).min)
    return (samples / full_scale).astype(np.float32)
