"""Steps of this project as components of TFX, which must be installed.

TFX names them by module and function, so they do not lie beside the command.
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
from stftgan_tf import evaluate, infra_validate, report
from stftgan_tf.data import dataset
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import blessing
from stftgan_tf.files import digest_of
from stftgan_tf.saved_model import loading as exported
from stftgan_tf.tfx import trainer as tfx_trainer


@component
def AnomalyGate(anomalies: InputArtifact[ExampleAnomalies]):  # noqa: N802
    """Fails where TFX's ExampleValidator, which only reports, has found any.

    Args:
      anomalies: as ExampleValidator gives them.
    """
    found = []
    for path in tf.io.gfile.glob(f"{anomalies.uri}/Split-*/SchemaDiff.pb"):
        with tf.io.gfile.GFile(path, "rb") as file:
            diff = anomalies_pb2.Anomalies.FromString(file.read())
        split = path.split("/")[-2]
        for name, info in sorted(diff.anomaly_info.items()):
            found.append(f"{split}: {name}: {info.description}")
    if found:
        raise UserError("; ".join(found))


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
    """Measures an export's variety; blesses it or not; writes the report.

    Args:
      model: TFX's, with the export in it.
      model_run: of the training, for its curves.
      examples: what it was trained on, and the evaluation split.
      evaluation: gets evaluation.json and report.html.
      verdict: gets BLESSED or NOT_BLESSED, as TFX's Pusher wants it.
      config: as JSON.
      data: the data set that was ingested.
    """
    wanted = config_lib.from_dict(json.loads(config))
    shards = dataset.open_examples(examples.uri, data, wanted)
    with tempfile.TemporaryDirectory() as folder:
        path, run = Path(folder, "model"), Path(folder, "run")
        tfx_trainer.copy(path_utils.serving_model_path(model.uri), str(path))
        tfx_trainer.copy(model_run.uri, str(run))
        export = exported.load(path)
        with dataset.corrupt_shard_as_error(shards):
            figures = evaluate.evaluate(export, shards, wanted)
        print(evaluate.table(figures))
        checks = blessing.checks(figures, wanted.bless)
        figures["digest"] = digest_of(path)
        made = Path(folder, "verdict")
        blessing.write(made, figures, checks)
        found = blessing.read(made)
        page = report.html(export, shards, wanted, found, run)
        Path(made, "report.html").write_text(page, encoding="utf-8")
        name = blessing.BLESSED if found["blessed"] else blessing.NOT_BLESSED
        tf.io.gfile.makedirs(verdict.uri)
        tf.io.gfile.copy(str(made / name), f"{verdict.uri}/{name}")
        (made / name).unlink()
        tfx_trainer.copy(str(made), evaluation.uri)
    print("\n".join([name, *found["reasons"]]))
    verdict.set_int_custom_property("blessed", int(found["blessed"]))


@component
def InfraValidator(  # noqa: N802
    model: InputArtifact[Model], verdict: OutputArtifact[InfraBlessing]
):
    """Has a process without XLA load the export and run every signature.

    Args:
      model: TFX's, with the export in it.
      verdict: gets INFRA_BLESSED or INFRA_NOT_BLESSED.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, made = Path(folder, "model"), Path(folder, "verdict")
        tfx_trainer.copy(path_utils.serving_model_path(model.uri), str(path))
        command = [sys.executable, "-m", "stftgan_tf.infra_validate"]
        flags = [f"--model={path}", f"--output={made}"]
        code = subprocess.run([*command, *flags]).returncode
        if not made.is_dir():
            raise UserError(f"infra_validate ended with exit code {code}")
        blessed = (made / infra_validate.BLESSED).is_file()
        tfx_trainer.copy(str(made), verdict.uri)
    verdict.set_int_custom_property("blessed", int(blessed))
