"""Requires TFX's environment (make tfx-test); skipped without TFX."""

import json
from pathlib import Path

import numpy as np
import pytest
import requests

pytest.importorskip("tfx", reason="TFX is not installed: make tfx-test")

from pipeline import tfx_pipeline  # noqa: E402
from tests.conftest import serve  # noqa: E402

# Samples are noise after 20 steps, so that only these limits bless them.
LENIENT = [
    "--set=bless.max_frechet=1e6",
    "--set=bless.max_ndb=1",
    *(
        f"--set=bless.{name}=0"
        for name in (
            "min_apart",
            "min_coverage",
            "min_diversity",
            "min_precision",
            "min_recall",
        )
    ),
]


@pytest.fixture(scope="module")
def place(shards, tmp_path_factory):
    """Flags of a pipeline, its root and its versions."""
    directory = tmp_path_factory.mktemp("tfx")
    root, base = directory / "root", directory / "serving"
    flags = ["--config=tiny", f"--data={shards}", f"--root={root}"]
    return [*flags, f"--base_path={base}"], root, base


def test_the_server_answers_from_the_pushed_model(place, capsys):
    flags, root, base = place
    assert tfx_pipeline.main([*flags, *LENIENT]) == 0
    *_, page, pushed = capsys.readouterr().out.splitlines()
    (version,) = base.iterdir()
    assert pushed == str(version) and version.name.isdigit()
    assert len(list(root.glob("InfraValidator/verdict/*/INFRA_BLESSED"))) == 1
    text = Path(page.removeprefix("report: ")).read_text()
    assert "<title>Blessed: " in text and 'id="training"' in text
    server = serve(base, model_name="digits")
    try:
        answer = requests.post(
            f"http://127.0.0.1:{server.rest_api_port}/v1/models/digits:predict",
            json={"inputs": {"seed": [1, 2]}},
        )
    finally:
        server.stop()
    audio = np.array(answer.json()["outputs"]["audio"])
    assert audio.shape == (2, 544) and np.isfinite(audio).all()


def test_an_export_that_is_not_blessed_is_not_pushed(place, capsys):
    """Only components that depend on the limits run again."""
    flags, root, base = place
    before = list(base.iterdir())
    trained = list(root.glob("Trainer/model/*"))
    assert len(before) == len(trained) == 1
    assert tfx_pipeline.main(flags) == 1
    error = capsys.readouterr().err
    assert "error: not blessed: " in error
    assert "far from real speech" in error
    assert list(base.iterdir()) == before
    assert list(root.glob("Trainer/model/*")) == trained
    assert len(list(root.glob("Evaluator/verdict/*/NOT_BLESSED"))) == 1


def test_the_pipeline_compiles_for_kubeflow(tmp_path, capsys):
    path = tmp_path / "kubeflow" / "pipeline.json"
    flags = ["--config=tiny", "--data=gs://b/data", "--root=gs://b/root"]
    flags += ["--base_path=gs://b/serving", f"--kubeflow={path}", "--image=i:1"]
    assert tfx_pipeline.main(flags) == 0
    spec = json.loads(path.read_text())["pipelineSpec"]
    tasks = spec["root"]["dag"]["tasks"]
    assert set(tasks) == {
        "ImportExampleGen",
        "StatisticsGen",
        "SchemaGen",
        "ExampleValidator",
        "AnomalyGate",
        "Trainer",
        "Evaluator",
        "InfraValidator",
        "Pusher",
    }
    assert "AnomalyGate" in tasks["Trainer"]["dependentTasks"]
    executors = spec["deploymentSpec"]["executors"].values()
    assert {e["container"]["image"] for e in executors} == {"i:1"}


def test_bad_usage(tmp_path, capsys):
    assert tfx_pipeline.main([f"--data={tmp_path}", "--config=tiny"]) == 1
    assert "is not a data set" in capsys.readouterr().err
