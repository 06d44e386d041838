import dataclasses
import json
import shutil
import types

import numpy as np
import pytest

from stftgan_tf import config as config_lib
from stftgan_tf.data import dataset
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import blessing, evaluator
from stftgan_tf.evaluation.window_metrics import WindowMetrics


@pytest.fixture(scope="module")
def opened(shards, tiny):
    return dataset.open_shards(shards, tiny)


@pytest.fixture(scope="module")
def training(opened, tiny):
    return dataset.load_windows(opened, tiny, "train", 10**6)


@pytest.fixture(scope="module")
def real(opened, tiny):
    return dataset.load_windows(opened, tiny, "eval", 10**6)[0]


@pytest.fixture(scope="module")
def metrics(opened, training, tiny):
    return WindowMetrics(training[0], opened.moments, tiny)


@pytest.fixture(scope="module")
def measure(metrics, real, tiny):
    """A function that measures windows as an evaluation does."""

    def values(windows):
        return metrics.measure(windows, metrics.embed(windows), real)

    real_values = values(real)

    def measure(windows):
        return {
            "clusters": tiny.evaluate.clusters,
            "dimensions": metrics.dimensions,
            "real": real_values,
            "generated": values(windows),
        }

    return measure


def bad_windows(kind, windows):
    """Windows of a generator that must not be published."""
    if kind == "noise":
        rng = np.random.default_rng(0)
        return np.float32(rng.uniform(-1, 1, (64, *windows.shape[1:])))
    if kind == "copies":
        return windows[:64]
    sources = {
        "constant": windows[:1],
        "four repeated": windows[:4],
        "silence": np.full_like(windows[:1], -1.0),
    }
    return np.resize(sources[kind], (64, *windows.shape[1:]))


@pytest.mark.parametrize(
    ("kind", "metric", "low", "high", "reason"),
    [
        ("constant", "diversity_ratio", 0, 1e-5, "all windows look alike"),
        ("constant", "ndb", 3, 5, "all windows look alike"),
        ("constant", "coverage", 0, 0.2, "all windows look alike"),
        ("four repeated", "nearest_self", 0, 1e-3, "windows are repeated"),
        ("four repeated", "coverage", 0, 0.4, "windows are repeated"),
        ("copies", "memorised", 1, 1, "training windows are copied"),
        ("noise", "precision", 0, 0.2, "unlike any real window"),
        ("silence", "diversity_ratio", 0, 1e-5, "all windows look alike"),
    ],
)
def test_a_bad_generator_is_not_blessed(
    measure, training, tiny, kind, metric, low, high, reason
):
    values = measure(bad_windows(kind, training[0]))
    assert low <= values["generated"][metric] <= high
    results = blessing.checks(values, tiny.bless)
    assert any(reason in text for text in blessing.reasons(results))


def test_real_windows_would_be_blessed(measure, real, tiny):
    results = blessing.checks(measure(real), tiny.bless)
    assert blessing.reasons(results) == []


def test_real_windows_that_are_training_windows_are_recognised(
    metrics, training, real
):
    noise = np.random.default_rng(0).normal(0, 0.01, training[0][:5].shape)
    copies = np.float32(training[0][:5] + noise)
    windows = np.concatenate([real, training[0][:3], copies])
    leaked = metrics.are_in_training(windows)
    assert leaked[-8:].all()
    assert leaked[:-8].mean() < 0.05


def test_leaked_windows_are_left_out_of_an_evaluation(
    shards, export, real, tmp_path
):
    data = shutil.copytree(shards, tmp_path / "data")
    manifest = json.loads((data / "manifest.json").read_text())
    # The first training shard is evaluated as well.
    shard = next(s for s in manifest["shards"] if "train" in s["path"])
    path = shard["path"].replace("Split-train", "Split-eval") + ".copy"
    shutil.copy(data / shard["path"], data / path)
    manifest["shards"].append({**shard, "path": path})
    manifest["windows"]["eval"] += shard["records"]
    (data / "manifest.json").write_text(json.dumps(manifest))
    flags = ["evaluate.classifier=off", "evaluate.samples=500"]
    result = evaluator.evaluate(export, data, overrides=flags)
    assert result.metrics["leaked"] >= 0.9 * shard["records"]
    assert result.metrics["real"]["windows"] <= len(real)
    assert result.metrics["real"]["memorised"] < 0.05
    assert f"left out {result.metrics['leaked']} evaluation" in str(result)
    # Without a classifier there are no figures of audio, but examples.
    assert "fid" not in result.metrics["generated"]
    assert result.examples.audio["generated"].any()


def test_the_number_of_windows_does_not_matter(measure, real):
    # Real windows, five times as many as they are compared with.
    values = measure(np.repeat(real, 5, axis=0))
    for name in ("coverage", "recall", "frechet", "nearest_self"):
        assert values["generated"][name] == pytest.approx(
            values["real"][name], rel=1e-3
        ), name


def test_shares_of_clusters_add_up(metrics, real, training):
    shares = metrics.shares(training[0][:1], real)
    assert sum(shares["training"]) == pytest.approx(1, abs=1e-3)
    assert sum(shares["real"]) == pytest.approx(1, abs=1e-3)
    assert sorted(shares["generated"]) == [0, 0, 0, 0, 1]


def test_an_empty_evaluation_split_is_an_error(opened, tiny):
    manifest = {
        **opened.manifest,
        "shards": [
            shard
            for shard in opened.manifest["shards"]
            if "train" in shard["path"]
        ],
        "windows": {**opened.manifest["windows"], "eval": 0},
    }
    empty = dataclasses.replace(opened, manifest=manifest)
    with pytest.raises(UserError, match="and 0 distinct evaluation"):
        evaluator.evaluate_loaded(None, "", empty, tiny)


@pytest.mark.parametrize("name", ["moments", "labels"])
def test_a_different_data_set_is_refused(export, shards, opened, tiny, name):
    metadata = {
        "labels": opened.manifest["labels"],
        "moments": {"mean": opened.manifest["moments"]["mean"]},
    }
    model = types.SimpleNamespace(path=export, metadata=metadata)
    evaluator.check_data(model, opened)
    model.metadata = {**metadata, name: {"mean": [0.0]}}
    with pytest.raises(UserError, match=f"{shards} has different {name} than"):
        evaluator.check_data(model, opened)


def test_an_export_without_moments_must_be_exported_again(export, opened):
    model = types.SimpleNamespace(path=export, metadata={})
    with pytest.raises(UserError, match="contains no moments; export it again"):
        evaluator.check_data(model, opened)


def test_the_table_shows_the_best_value_of_each_metric():
    labels = {"zero": 0.5, "one": 0.5}
    real = {"ndb": 2, "frechet": 1.5, "fid": None, "labels": labels}
    table = evaluator.table({"real": real, "generated": {**real, "ndb": 9}})
    lines = [line.split() for line in table.splitlines()]
    assert lines == [
        ["metric", "real", "generated", "best"],
        ["ndb", "2", "9", "0"],
        ["frechet", "1.5", "1.5", "real"],
        ["fid", "-", "-", "real"],
        ["labels", "(share", "of", "samples)"],
        ["zero", "0.5", "0.5", "real"],
        ["one", "0.5", "0.5", "real"],
    ]


def test_the_settings_of_a_config_are_used(export, tiny):
    config = evaluator.config_of(export, ["evaluate.clusters=3"])
    assert config.evaluate.clusters == 3
    assert config.stft == tiny.stft == config_lib.load("tiny").stft
