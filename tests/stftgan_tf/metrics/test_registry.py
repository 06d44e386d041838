import json

from stftgan_tf.evaluation import blessing
from stftgan_tf.metrics import registry


def test_names_are_unique_and_every_metric_has_a_meaning():
    for metrics in (registry.EVALUATION, registry.WATCH):
        names = [metric.name for metric in metrics]
        assert len(names) == len(set(names))
        assert all(metric.meaning.endswith(".") for metric in metrics)
    watch = registry.watch_row(dict.fromkeys(m.name for m in registry.WATCH))
    assert not watch.keys() & {m.name for m in registry.EVALUATION}


def test_an_evaluation_has_exactly_these_metrics(evaluation):
    values = blessing.read(evaluation)["real"]
    names = [name for name in values if name != "labels"]
    assert names == [metric.name for metric in registry.EVALUATION]


def test_a_watch_has_exactly_these_metrics(trained_run):
    lines = (trained_run / "metrics.jsonl").read_text().splitlines()
    rows = [registry.from_watch_row(json.loads(line)) for line in lines]
    names = {metric.name for metric in registry.WATCH}
    assert {frozenset(row) for row in rows if row} == {frozenset(names)}


def test_rows_of_a_watch_are_read_back():
    values = {"ndb": 3, "recall": 0.5}
    row = registry.watch_row(values)
    assert row == {"watch/ndb": 3, "watch/recall": 0.5}
    assert registry.from_watch_row({"step": 1, **row}) == values
    # Earlier versions used the names without a prefix.
    assert registry.from_watch_row({"step": 1, **values}) == values
    assert registry.from_watch_row({"step": 1, "critic_loss": 2.0}) == {}


def test_values_of_a_watch_as_text():
    values = {"recall": 0.1234, "ndb": 13, "frechet": 12.345}
    line = registry.watch_line(values)
    assert line == "ndb 13  recall 0.12  frechet 12.3"
    first, *_ = registry.watch_list(values).splitlines()
    assert first.startswith("- recall: 0.12 (best: 1). Share of real windows")
    assert registry.format_value(None, registry.watch_metric("recall")) == "-"


def test_old_names_in_an_evaluation_are_translated():
    old = {"judge_ndb": 3, "fid": 1.0}
    assert registry.current_names(old) == {"classifier_ndb": 3, "fid": 1.0}
    assert registry.evaluation_metric("something_old").meaning == ""


def test_the_markdown_lists_every_metric():
    lines = registry.markdown().splitlines()
    names = [metric.name for metric in registry.EVALUATION]
    names += [f"watch/{metric.name}" for metric in registry.WATCH]
    assert [x.split("`")[1] for x in lines if x.startswith("| `")] == names
