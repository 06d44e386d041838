"""Fixtures of several tests of the pipeline."""

import pytest


@pytest.fixture
def model(tmp_path):
    """An export, as far as publishing is concerned."""
    path = tmp_path / "model"
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"graph")
    (path / "variables" / "variables.index").write_bytes(b"weights")
    return path


@pytest.fixture
def base(tmp_path):
    return tmp_path / "base"
