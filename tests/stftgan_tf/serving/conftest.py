"""The shared export, loaded here to compare with what servers return."""

import pytest

from stftgan_tf.saved_model import loading


@pytest.fixture(scope="session")
def model(export):
    return loading.load(export)
