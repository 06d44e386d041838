"""Steps of this project as TFX components; importing them requires TFX.

They are not in `pipeline.tfx_pipeline` because TFX finds a component by its
module, and a command's module is called `__main__`.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.component.experimental.annotations import (
    InputArtifact,
    OutputArtifact,
    Parameter,
)
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import (
    ExampleAnomalies,
    Examples,
    InfraBlessing,
    Model,
    ModelBlessing,
    ModelEvaluation,
    ModelRun,
)
from tfx.utils import path_utils

from stftgan_tf import config as config_lib
from stftgan_tf import infra_validate
from stftgan_tf.data import dataset
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import blessing, evaluator, report
from stftgan_tf.files import directory_digest
from stftgan_tf.saved_model import loading
from stftgan_tf.tfx.trainer import copy


@component
def AnomalyGate(anomalies: InputArtifact[ExampleAnomalies]):  # noqa: N802
    """Fails if TFX's ExampleValidator, which only reports, found anomalies.

    Args:
      anomalies: the output of ExampleValidator.
    """
    descriptions = []
    for path in tf.io.gfile.glob(f"{anomalies.uri}/Split-*/SchemaDiff.pb"):
        with tf.io.gfile.GFile(path, "rb") as file:
            diff = anomalies_pb2.Anomalies.FromString(file.read())
        split = path.split("/")[-2]
        for name, info in sorted(diff.anomaly_info.items()):
            descriptions.append(f"{split}: {name}: {info.description}")
    if descriptions:
        raise UserError("; ".join(descriptions))


@component
def Evaluator(  # noqa: N802
    model: InputArtifact[Model],
    model_run: InputArtifact[ModelRun],
    examples: InputArtifact[Examples],
    evaluation: OutputArtifact[ModelEvaluation],
    verdict: OutputArtifact[ModelBlessing],
    config: Parameter[str],
    data: Parameter[str],
):
    """Evaluates an export, writes the report, and blesses the export or not.

    Args:
      model: contains the export.
      model_run: the run of the training; the report shows its history.
      examples: the training and the evaluation split.
      evaluation: receives the evaluation and report.html.
      verdict: receives BLESSED or NOT_BLESSED, which TFX's Pusher reads.
      config: as JSON.
      data: the data set that was ingested.
    """
    settings = config_lib.from_dict(json.loads(config))
    shards = dataset.open_examples(examples.uri, data, settings)
    with tempfile.TemporaryDirectory() as directory:
        export, run = Path(directory, "model"), Path(directory, "run")
        copy(path_utils.serving_model_path(model.uri), str(export))
        copy(model_run.uri, str(run))
        result = evaluator.evaluate_loaded(
            loading.load(export), directory_digest(export), shards, settings
        )
        print(evaluator.table(result.metrics))
        output = Path(directory, "evaluation")
        result.save(output)
        page = report.html(report.read_sources(export, shards, output), run)
        Path(output, "report.html").write_text(page, encoding="utf-8")
        name = blessing.BLESSED if result.blessed else blessing.NOT_BLESSED
        tf.io.gfile.makedirs(verdict.uri)
        tf.io.gfile.copy(str(output / name), f"{verdict.uri}/{name}")
        copy(str(output), evaluation.uri)
    print("\n".join([name, *result.reasons]))
    verdict.set_int_custom_property("blessed", int(result.blessed))


@component
def InfraValidator(  # noqa: N802
    model: InputArtifact[Model], verdict: OutputArtifact[InfraBlessing]
):
    """Loads the export in a process without XLA and runs every signature.

    Args:
      model: contains the export.
      verdict: receives INFRA_BLESSED or INFRA_NOT_BLESSED.
    """
    with tempfile.TemporaryDirectory() as directory:
        export, output = Path(directory, "model"), Path(directory, "verdict")
        copy(path_utils.serving_model_path(model.uri), str(export))
        command = [sys.executable, "-m", "stftgan_tf.infra_validate"]
        flags = [f"--model={export}", f"--output={output}"]
        code = subprocess.run([*command, *flags]).returncode
        if not output.is_dir():
            raise UserError(f"infra_validate failed with exit code {code}")
        blessed = (output / infra_validate.BLESSED).is_file()
        copy(str(output), verdict.uri)
    verdict.set_int_custom_property("blessed", int(blessed))
