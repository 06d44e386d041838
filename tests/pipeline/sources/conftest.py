"""Fixtures that the tests of sources share."""

import pytest


@pytest.fixture
def touch(tmp_path):
    """Creates empty files below `tmp_path`."""

    def touch(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()

    return touch
