"""The TFX pipeline: its components, and how it is run."""

import json
import os
from pathlib import Path

from tfx import v1 as tfx
from tfx.proto import example_gen_pb2, pusher_pb2, trainer_pb2

from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.tfx import components

_NAME = "stftgan"


def build(
    config: Config,
    data: str,
    root: str,
    base_path: str,
    steps: int,
    minutes: float | None = None,
) -> tfx.dsl.Pipeline:
    """Builds the pipeline.

    Args:
      config: of the data set, the model and its training.
      data: the data set.
      root: directory of TFX's artifacts and metadata.
      base_path: directory of the served versions.
      steps: generator updates.
      minutes: time limit of the training.
    """
    data_components = _data_components(data)
    examples = data_components[0].outputs["examples"]
    trainer = _trainer(config, data, steps, minutes, data_components)
    evaluator = components.Evaluator(
        model=trainer.outputs["model"],
        model_run=trainer.outputs["model_run"],
        examples=examples,
        config=json.dumps(config.to_dict()),
        data=data,
    )
    infra = components.InfraValidator(model=trainer.outputs["model"])
    pusher = tfx.components.Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["verdict"],
        infra_blessing=infra.outputs["verdict"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(
                base_directory=base_path
            )
        ),
    )
    return tfx.dsl.Pipeline(
        pipeline_name=_NAME,
        pipeline_root=root,
        components=[*data_components, trainer, evaluator, infra, pusher],
        enable_cache=True,
    )


def _data_components(data: str) -> list:
    """The components from ImportExampleGen to AnomalyGate, in order."""
    split = example_gen_pb2.Input.Split
    splits = [
        split(name=name, pattern=f"Split-{name}/data_tfrecord-*")
        for name in ("train", "eval")
    ]
    examples = tfx.components.ImportExampleGen(
        input_base=data, input_config=example_gen_pb2.Input(splits=splits)
    )
    statistics = tfx.components.StatisticsGen(
        examples=examples.outputs["examples"]
    )
    schema = tfx.components.SchemaGen(
        statistics=statistics.outputs["statistics"], infer_feature_shape=True
    )
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"],
        schema=schema.outputs["schema"],
    )
    gate = components.AnomalyGate(anomalies=validator.outputs["anomalies"])
    return [examples, statistics, schema, validator, gate]


def _trainer(
    config: Config,
    data: str,
    steps: int,
    minutes: float | None,
    data_components: list,
) -> tfx.components.Trainer:
    """The training, which starts after the gate."""
    examples, _, schema, _, gate = data_components
    # A change of the thresholds must not cause a new training.
    sections = config.to_dict()
    for section in config_lib.ASSESSMENT_SECTIONS:
        del sections[section]
    trainer = tfx.components.Trainer(
        run_fn="stftgan_tf.tfx.trainer.run_fn",
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        train_args=trainer_pb2.TrainArgs(num_steps=steps),
        eval_args=trainer_pb2.EvalArgs(),
        custom_config={"config": sections, "data": data, "minutes": minutes},
    )
    trainer.add_upstream_node(gate)
    return trainer


def run(pipeline: tfx.dsl.Pipeline, root: str) -> Path:
    """Runs a pipeline on this machine; returns the newest evaluation."""
    pipeline.metadata_connection_config = (
        tfx.orchestration.metadata.sqlite_metadata_connection_config(
            os.path.join(root, "metadata.sqlite")
        )
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)
    evaluations = Path(root, "Evaluator", "evaluation").iterdir()
    return max(evaluations, key=lambda path: int(path.name))


def write_kubeflow(pipeline: tfx.dsl.Pipeline, path: Path, image: str) -> None:
    """Writes a pipeline as a JSON file for Kubeflow.

    Args:
      pipeline: the pipeline.
      path: the file.
      image: container image with TFX and this project.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    experimental = tfx.orchestration.experimental
    settings = experimental.KubeflowV2DagRunnerConfig(default_image=image)
    runner = experimental.KubeflowV2DagRunner(
        config=settings, output_filename=str(path)
    )
    runner.run(pipeline)
