import pytest

from stftgan_tf.config import BlessConfig
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


def verdict(last=None, **changed):
    report = {
        "clusters": 50,
        "dimensions": 20,
        "real": REAL,
        "generated": GOOD | changed,
    }
    return blessing.reasons(blessing.checks(report, BlessConfig(), last))


def before(made, real):
    return {"generated": {"frechet": made}, "real": {"frechet": real}}


def test_a_good_one_is_blessed():
    assert verdict() == []
    assert verdict(last=before(3.0, 3.0)) == []
    # Twice as far, where real windows are twice as far from each other.
    assert verdict(last=before(1.5, 1.5)) == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"diversity_ratio": 0.5}, "all windows are alike: diversity_ratio"),
        ({"nearest_self": 1.0}, "windows are repeated: nearest_self is 1"),
        ({"precision": 0.2}, "unlike any real window: precision is 0.2"),
        ({"coverage": 0.4}, "kinds of windows are missing: coverage"),
        ({"recall": 0.04}, "much of the data is out of reach: recall is 0.04"),
        ({"ndb": 23}, "come too often or too rarely: ndb is 23"),
        ({"frechet": 7.5}, "far from speech: frechet is 7.5"),
        ({"frechet": float("nan")}, "far from speech: frechet is nan"),
        ({"memorised": 0.07}, "training windows are copied: memorised is 0.07"),
        ({"label_recognised": 0.5}, "labels asked for are not heard"),
    ],
)
def test_each_failing_is_named(changed, reason):
    (found,) = verdict(**changed)
    assert reason in found and "expected at" in found


def test_worse_than_the_last_one_is_not_blessed():
    for last in (before(2.0, 3.0), before(4.0, 6.0)):
        (found,) = verdict(last=last)
        assert found.startswith("worse than the export blessed before: frechet")


def test_the_verdict_is_read_back(tmp_path):
    for changed in ({}, {"ndb": 23}):
        report = {
            "clusters": 50,
            "dimensions": 20,
            "real": REAL,
            "generated": GOOD | changed,
        }
        report["digest"] = "abc"
        checks = blessing.checks(report, BlessConfig())
        blessing.write(tmp_path / "x", report, checks)
        found = blessing.read(tmp_path / "x")
        assert found["blessed"] == (not changed)
        assert len(found["reasons"]) == len(changed)
        assert {name: found[name] for name in report} == report
        (ndb,) = [c for c in found["checks"] if c["figure"] == "ndb"]
        assert ndb == {
            "figure": "ndb",
            "value": 23 if changed else 7,
            "bound": "at most",
            "limit": 22,
            "failing": "kinds of windows come too often or too rarely",
            "passed": not changed,
        }
        left = sorted(path.name for path in (tmp_path / "x").iterdir())
        name = "NOT_BLESSED" if changed else "BLESSED"
        assert left == sorted([name, "evaluation.json"])
