"""Speech that the DSP tests share."""

import numpy as np
import pytest
import soundfile

from stftgan_tf import config as config_lib


@pytest.fixture(scope="session")
def config():
    return config_lib.load("digits8k")


@pytest.fixture(scope="session")
def speech(recordings):
    """A few seconds of spoken digits, float32 [N]."""
    files = sorted(recordings.glob("*_0.wav"))
    return np.concatenate(
        [soundfile.read(f, dtype="float32")[0] for f in files]
    )
