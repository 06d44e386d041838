import json
import re

import pytest

from stftgan_tf.config import BlessConfig
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import blessing

REAL = {
    "diversity_ratio": 1.0,
    "nearest_self": 4.0,
    "precision": 0.6,
    "coverage": 0.9,
    "recall": 0.5,
    "ndb": 2,
    "frechet": 3.0,
    "memorised": 0.01,
    "label_recognised": 0.98,
}
GOOD = REAL | {"diversity_ratio": 0.9, "ndb": 7, "label_recognised": None}


def reasons(last=None, **changes):
    results = blessing.checks(metrics(**changes), BlessConfig(), last)
    return blessing.reasons(results)


def metrics(**changes):
    return {
        "clusters": 50,
        "dimensions": 20,
        "real": REAL,
        "generated": GOOD | changes,
    }


def before(generated, real):
    return {"generated": {"frechet": generated}, "real": {"frechet": real}}


def test_a_good_generator_is_blessed():
    assert reasons() == []
    assert reasons(last=before(3.0, 3.0)) == []
    # Twice the distance of the last export, but also for real windows.
    assert reasons(last=before(1.5, 1.5)) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"diversity_ratio": 0.5},
            "diversity_ratio 0.5, at least 0.6",
        ),
        ({"nearest_self": 1.0}, "nearest_self 1, at least 1.6 required"),
        ({"precision": 0.2}, "precision 0.2, at least 0.24 required"),
        ({"coverage": 0.4}, "coverage 0.4, at least 0.54 required"),
        ({"recall": 0.04}, "recall 0.04, at least 0.05 required"),
        ({"ndb": 23}, "ndb 23, at most 22 allowed"),
        ({"frechet": 7.5}, "frechet 7.5, at most 7 allowed"),
        ({"frechet": float("nan")}, "frechet nan, at most 7 allowed"),
        ({"memorised": 0.07}, "memorised 0.07, at most 0.05 allowed"),
        ({"label_recognised": 0.5}, "label_recognised 0.5, at least 0.686"),
    ],
)
def test_a_reason_names_value_limit_and_meaning(changes, reason):
    (text,) = reasons(**changes)
    assert text.startswith(reason) and re.search(r" \([a-z][^)]+\)$", text)


def test_worse_than_the_last_blessed_export_is_not_blessed():
    for last in (before(2.0, 3.0), before(4.0, 6.0)):
        (text,) = reasons(last=last)
        assert text == (
            "frechet 3, at most 2.4 allowed (worse than the last blessed "
            "export)"
        )


def test_labels_without_labelled_evaluation_windows_are_not_checked():
    result = metrics(label_recognised=0.1)
    result["real"] = {**REAL, "label_recognised": None}
    assert blessing.reasons(blessing.checks(result, BlessConfig())) == []


@pytest.mark.parametrize("changes", [{}, {"ndb": 23}])
def test_an_evaluation_is_read_back(tmp_path, changes):
    directory = tmp_path / "evaluation"
    expected = {**metrics(**changes), "digest": "5ha"}
    results = blessing.checks(expected, BlessConfig())
    blessing.write(directory, expected, results)
    evaluation = blessing.read(directory)
    assert evaluation["blessed"] == (not changes)
    assert len(evaluation["reasons"]) == len(changes)
    assert {name: evaluation[name] for name in expected} == expected
    (ndb,) = [c for c in evaluation["checks"] if c["figure"] == "ndb"]
    assert ndb == {
        "figure": "ndb",
        "value": 23 if changes else 7,
        "bound": "at most",
        "limit": 22,
        "failing": "some kinds of windows are too frequent or too rare",
        "passed": not changes,
    }
    verdict = "NOT_BLESSED" if changes else "BLESSED"
    names = sorted(path.name for path in directory.iterdir())
    assert names == sorted([verdict, "evaluation.json"])


def test_an_evaluation_of_an_earlier_version_is_read(tmp_path):
    metrics = {"judge_ndb": 3, "frechet": 1.0}
    old = {"digest": "5ha", "blessed": True, "reasons": [], "real": {}}
    for directory, name, text in (
        ("evaluation", "evaluation.json", {**old, "generated": metrics}),
        ("1", "pushed.json", {"verdict": {**old, "generated": metrics}}),
    ):
        path = tmp_path / directory
        path.mkdir()
        (path / "BLESSED").touch()
        (path / name).write_text(json.dumps(text))
        read = blessing.read(path)
        assert read["generated"] == {"classifier_ndb": 3, "frechet": 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not an evaluation .*stftgan_tf.evaluate"),
        ("{", "is damaged"),
        ('{"digest": "5ha"}', "is damaged"),
        ('{"digest": "5ha", "blessed": true}', "contradict each other"),
    ],
)
def test_an_unusable_evaluation_is_an_error(tmp_path, text, message):
    if text:
        (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(UserError, match=message):
        blessing.read(tmp_path)
