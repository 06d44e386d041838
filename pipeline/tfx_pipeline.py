"""The same steps under TFX, on shards that pipeline.preprocess has made.

    ImportExampleGen -> StatisticsGen -> SchemaGen -> ExampleValidator
                     -> AnomalyGate -> Trainer -> Evaluator, InfraValidator
                     -> Pusher

AnomalyGate, Evaluator and InfraValidator are this project's; Trainer calls its
`run_fn`. Runs here (LocalDagRunner), or writes a pipeline for Kubeflow
(--kubeflow). Needs TFX: make tfx.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from tfx import v1 as tfx
from tfx.proto import example_gen_pb2, pusher_pb2, trainer_pb2

from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import dataset
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import blessing
from stftgan_tf.tfx import components as tfx_components

EXAMPLE = (
    "python -m pipeline.tfx_pipeline --config digits8k --data tfrecords/digits "
    "--root pipelines/tfx --base_path serving/tfx --steps 10000"
)

_NAME = "stftgan"


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    config_lib.add_arguments(parser, default="digits8k")
    cli.add_data(parser)
    parser.add_argument(
        "--root",
        default="pipelines/tfx",
        help="of TFX's artifacts; with --kubeflow it may be remote (default: "
        "pipelines/tfx)",
    )
    parser.add_argument(
        "--base_path",
        default="serving/tfx",
        help="folder of the versions that are served; with --kubeflow it may "
        "be remote (default: serving/tfx)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        help="generator updates (default: train.steps)",
    )
    parser.add_argument(
        "--kubeflow",
        type=cli.local_path,
        help="write the pipeline to this JSON file, and run nothing",
    )
    parser.add_argument(
        "--image",
        default=_NAME,
        help="container with TFX and this project, for --kubeflow "
        f"(default: {_NAME})",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    config = config_lib.load(args.config, args.set)
    if args.print_config:
        return config_lib.print_config(config)
    steps = args.steps or config.train.steps
    if args.kubeflow:
        made = pipeline(config, args.data, args.root, args.base_path, steps)
        settings = tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(
            default_image=args.image
        )
        args.kubeflow.parent.mkdir(parents=True, exist_ok=True)
        tfx.orchestration.experimental.KubeflowV2DagRunner(
            config=settings, output_filename=str(args.kubeflow)
        ).run(made)
        print(args.kubeflow)
        return 0
    # Before TFX starts, with an error that is easier to read.
    dataset.open_shards(args.data, config)
    data, root, base_path = (
        os.path.abspath(path) for path in (args.data, args.root, args.base_path)
    )
    if dataset.is_remote(str(args.data)):
        data = args.data
    made = pipeline(config, data, root, base_path, steps)
    made.metadata_connection_config = (
        tfx.orchestration.metadata.sqlite_metadata_connection_config(
            os.path.join(root, "metadata.sqlite")
        )
    )
    tfx.orchestration.LocalDagRunner().run(made)
    evaluations = Path(root, "Evaluator", "evaluation").iterdir()
    newest = max(evaluations, key=lambda path: int(path.name))
    print(f"report: {newest / 'report.html'}")
    found = json.loads((newest / blessing.FILE).read_text(encoding="utf-8"))
    if not found["blessed"]:
        raise UserError(f"not blessed: {'; '.join(found['reasons'])}")
    names = [path.name for path in Path(base_path).iterdir()]
    # Not what else pipeline.push keeps there.
    print(os.path.join(base_path, max(filter(str.isdigit, names), key=int)))
    return 0


def pipeline(
    config: Config, data: str, root: str, base_path: str, steps: int
) -> tfx.dsl.Pipeline:
    """TFX's pipeline.

    Args:
      config: of the data set, the model and its training.
      data: the data set.
      root: of TFX's artifacts and its metadata.
      base_path: of the versions that are pushed.
      steps: generator updates.
    """
    checked = _checked(data)
    examples = checked[0].outputs["examples"]
    trainer = _trainer(config, data, steps, checked)
    evaluator = tfx_components.Evaluator(
        model=trainer.outputs["model"],
        model_run=trainer.outputs["model_run"],
        examples=examples,
        config=json.dumps(config.to_dict()),
        data=data,
    )
    infra = tfx_components.InfraValidator(model=trainer.outputs["model"])
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
        components=[*checked, trainer, evaluator, infra, pusher],
        enable_cache=True,
    )


def _checked(data: str) -> list:
    """Components from ImportExampleGen to the gate, in order."""
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
    gate = tfx_components.AnomalyGate(anomalies=validator.outputs["anomalies"])
    return [examples, statistics, schema, validator, gate]


def _trainer(
    config: Config, data: str, steps: int, checked: list
) -> tfx.components.Trainer:
    """The training, once `checked` are through."""
    examples, _, schema, _, gate = checked
    # What the judgement alone depends on is no reason to train again.
    learnt = config.to_dict()
    for section in config_lib.JUDGEMENT_SECTIONS:
        del learnt[section]
    trainer = tfx.components.Trainer(
        run_fn="stftgan_tf.tfx.trainer.run_fn",
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        train_args=trainer_pb2.TrainArgs(num_steps=steps),
        eval_args=trainer_pb2.EvalArgs(),
        custom_config={"config": learnt, "data": data},
    )
    trainer.add_upstream_node(gate)
    return trainer


if __name__ == "__main__":
    sys.exit(main())
