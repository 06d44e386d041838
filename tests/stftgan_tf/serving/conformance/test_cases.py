"""The cases are complete, and their differences are documented."""

import pytest

from tests.conftest import ROOT
from tests.stftgan_tf.serving.conformance import cases

FILES = ("rest_paths.yaml", "rest_requests.yaml", "rest_answers.yaml")


@pytest.mark.parametrize("file", [*FILES, "grpc.yaml"])
def test_cases_have_names_of_their_own_and_sources(file):
    rows = [row for (row,) in (case.values for case in cases.read(file))]
    assert len({row["name"] for row in rows}) == len(rows)
    assert all(row["follows"] for row in rows)


def test_the_documentation_lists_all_differences():
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    documented = {
        line.split("|")[1].strip()
        for line in text.splitlines()
        if line.startswith("| ")
    }
    reasons = {
        case.values[0]["differs"]["reason"]
        for file in (*FILES, "grpc.yaml")
        for case in cases.read(file)
        if "differs" in case.values[0]
    }
    assert len(reasons) > 5
    assert reasons <= documented
