import pytest

from pipeline.workflow.step import Step
from tests.conftest import ROOT

CHILD = "tests.pipeline.workflow.child"


@pytest.fixture(autouse=True)
def _children_find_the_tests(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def make_step(tmp_path):
    """A function that makes a step of the command CHILD."""

    def make(name, inputs=(), settings=None, flags=()):
        return Step(
            name,
            tmp_path / "root",
            list(inputs),
            settings,
            lambda output: [CHILD, *flags, f"--output={output}"],
        )

    return make
