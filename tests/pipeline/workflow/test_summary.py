import pytest

from pipeline.workflow import summary
from stftgan_tf.evaluation import blessing

METRICS = {"digest": "x", "real": {}, "generated": {}}
PASSED = blessing.Check("recall", 0.9, "at least", 0.5, "too little variety")
FAILED = blessing.Check("ndb", 50, "at most", 30, "the model has collapsed")


@pytest.fixture
def steps(make_step, tmp_path):
    names = ("export", "evaluate", "report", "push")
    flags = [f"--print={tmp_path / 'serving' / '1'}"]
    (tmp_path / "serving").mkdir()
    steps = [make_step(name, flags=flags) for name in names]
    steps[0].run()
    return steps


def lines(steps, tmp_path):
    return summary.lines(steps, tmp_path / "serving")


def test_a_blessed_version(steps, tmp_path):
    export, evaluation, report, push = steps
    blessing.write(evaluation.output, METRICS, [PASSED])
    for step in (evaluation, report, push):
        step.run()
    blank, *rows = lines(steps, tmp_path)
    assert blank == ""
    assert [row.split()[0] for row in rows] == [
        "blessed:",
        "report:",
        "version:",
        "listen:",
        "serve:",
    ]
    assert "yes, all 1 checks passed" in rows[0]
    assert f"{report.output}/report.html" in rows[1]
    assert f"--model {export.output}" in rows[3]
    assert rows[4].endswith(f"serve --model {tmp_path / 'serving'}")


def test_an_export_that_is_not_blessed(steps, tmp_path):
    evaluation = steps[1]
    metrics = {**METRICS, "remedies": ["Train longer."]}
    blessing.write(evaluation.output, metrics, [PASSED, FAILED])
    evaluation.run()
    _, verdict, reason, listen = lines(steps, tmp_path)
    assert "no, 1 of 2 checks failed" in verdict
    assert "docs/troubleshooting.md" in verdict and "\n" not in verdict
    assert reason.startswith("  NOT_BLESSED: ndb 50, at most 30 allowed")
    assert reason.endswith(". Train longer.")
    assert listen.startswith("listen:  python -m stftgan_tf.sample")


def test_nothing_to_show(steps, tmp_path):
    assert lines(steps[1:], tmp_path) == []
