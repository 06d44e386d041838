"""Fixtures that several pipeline tests share."""

import pytest


@pytest.fixture
def model(tmp_path):
    """A directory that passes for an export when it is published."""
    path = tmp_path / "model"
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"graph")
    (path / "variables" / "variables.index").write_bytes(b"weights")
    return path


@pytest.fixture
def base(tmp_path):
    return tmp_path / "base"
