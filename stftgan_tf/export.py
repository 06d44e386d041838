"""Exports the averaged generator of a run as a SavedModel that makes audio.

Seeds go in, audio comes out; moments, phase and inverse STFT are inside the
graph. metadata.json beside it tells the sample rate and what it was made from.
"""

import argparse
import hashlib
import json
import logging
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import dataset
from stftgan_tf.dsp import features
from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.files import published_dir, refuse_existing
from stftgan_tf.models import condition, networks
from stftgan_tf.saved_model import loading as exported
from stftgan_tf.saved_model import signatures as served
from stftgan_tf.training import checkpoints

EXAMPLE = (
    "python -m stftgan_tf.export --run runs/digits --output exports/digits"
)


CARD = "model_card.md"
BATCHING = "batching_parameters.txt"

# Batches that TensorFlow Serving makes of requests.
BATCH_SIZES = (1, 2, 4, 8, 16, 32)

# All windows of a row are in memory at once.
_MAX_LONG_SECS = 600.0


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--run",
        type=cli.local_path,
        default=Path("runs/demo"),
        help="the training's folder (default: runs/demo)",
    )
    parser.add_argument(
        "--output",
        type=cli.local_path,
        help="folder of the export (default: exports/<name of the run>)",
    )
    parser.add_argument(
        "--long_secs",
        type=float,
        default=5.0,
        help="seconds that the signature `long` makes at least (default: 5)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an existing export once the new one is whole",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    output = args.output or Path("exports", args.run.resolve().name)
    if not 0 < args.long_secs <= _MAX_LONG_SECS:
        raise UsageError(
            f"--long_secs is {args.long_secs}; expected above 0, at most "
            f"{_MAX_LONG_SECS:g}"
        )
    export(args.run, output, args.long_secs, args.overwrite)
    print(output)
    return 0


def export(
    run: Path, output: Path, long_secs: float = 5.0, overwrite: bool = False
) -> None:
    """Exports the best checkpoint of a run, and says how fast it is here.

    Args:
      run: the training's folder.
      output: the export's; it appears whole.
      long_secs: seconds that the signature `long` makes at least.
      overwrite: whether an existing export is replaced.

    Raises:
      UserError: if there is nothing to export, or `output` is in the way.
    """
    refuse_existing(output, exported.METADATA, overwrite)
    config, manifest = _open_run(run)
    moments = features.Moments.from_dict(manifest["moments"])
    prior = None
    if config.model.condition != "none":
        prior = condition.load(run / condition.FILE).prior
    generator = networks.build_generator(
        config,
        0 if prior is None else len(prior),
        moments,
    )
    state = checkpoints.restore_average(run / "checkpoints", generator)
    graph = served.SamplingModule(generator, moments, config, prior, long_secs)
    metadata = _metadata(config, manifest, generator, state)
    metadata["long_samples"] = graph.long_samples
    metadata["watch"] = _seen(state)
    metadata["data_manifest_sha256"] = hashlib.sha256(
        (run / "manifest.json").read_bytes()
    ).hexdigest()
    with published_dir(output, exported.METADATA, overwrite) as staging:
        tf.saved_model.save(graph, str(staging), graph.signatures())
        text = json.dumps(metadata, indent=1) + "\n"
        (staging / exported.METADATA).write_text(text, encoding="utf-8")
        (staging / CARD).write_text(_card(metadata), encoding="utf-8")
        (staging / BATCHING).write_text(batching(), encoding="utf-8")
        warm = _write_warmup(staging)
    if not warm:
        print(
            "no warm-up requests for TensorFlow Serving: they need "
            "pip install '.[serving]'",
            file=sys.stderr,
        )
    print(
        f"step {state.step}, {generator.count_params():,} parameters, "
        f"{_size_mb(output):.1f} MB"
    )
    window_secs = metadata["samples"] / metadata["sample_rate_hz"]
    for batch, secs in _latencies(output, (1, 32)).items():
        print(
            f"batch {batch}: {1000 * secs:.0f} ms, "
            f"{batch * window_secs / secs:.0f} x real time on this machine"
        )


def _open_run(run: Path) -> tuple[Config, dict[str, Any]]:
    """Config and data manifest of a training."""
    path = run / "config.yaml"
    if not path.is_file():
        raise UserError(f"{run} holds no run (no config.yaml)")
    manifest = dataset.read_manifest(run / "manifest.json")
    return config_lib.load(str(path)), manifest


def _seen(state: checkpoints.State) -> dict[str, float]:
    """What the watch saw at the step; nothing where it did not look."""
    seen = dict(state.watch.get("seen", {}))
    return seen if seen.pop("step", None) == state.step else {}


def _metadata(
    config: Config,
    manifest: dict[str, Any],
    generator: keras.Model,
    state: checkpoints.State,
) -> dict[str, Any]:
    """What the export tells about itself."""
    moments = json.dumps(manifest["moments"], sort_keys=True)
    return {
        "sample_rate_hz": config.audio.sample_rate_hz,
        "samples": config.window_samples,
        "window_shape": list(config.window_shape),
        "latent_dim": config.model.latent_dim,
        "condition": config.model.condition,
        "labels": manifest["labels"],
        "parameters": generator.count_params(),
        "step": state.step,
        "train_secs": round(state.secs, 1),
        "moments": {k: manifest["moments"][k] for k in ("mean", "std")},
        "moments_sha256": hashlib.sha256(moments.encode()).hexdigest(),
        "data_config_hash": manifest["config_hash"],
        "tensorflow": tf.__version__,
        "config": config.to_dict(),
    }


def batching() -> str:
    """TensorFlow Serving's --batching_parameters_file.

    Audio takes long enough that waiting 2 ms for other requests is nothing.
    """
    lines = [
        f"max_batch_size {{ value: {BATCH_SIZES[-1]} }}",
        "batch_timeout_micros { value: 2000 }",
        "max_enqueued_batches { value: 64 }",
        "num_batch_threads { value: 2 }",
        *(f"allowed_batch_sizes: {size}" for size in BATCH_SIZES),
    ]
    return "\n".join(lines) + "\n"


def _write_warmup(export: Path) -> bool:
    """Requests that a server replays before it takes others.

    One for each batch size, and one for each other signature.

    Returns:
      Whether they could be written.
    """
    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError:
        return False
    path = export / exported.WARMUP
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, signature in exported.signature_defs(export).items():
            sizes = BATCH_SIZES if name == "serving_default" else (1,)
            for size in sizes:
                log = prediction_log_pb2.PredictionLog()
                request = log.predict_log.request
                request.model_spec.signature_name = name
                for key, value in exported.example(signature, size).items():
                    request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
                writer.write(log.SerializeToString())
    return True


def _size_mb(folder: Path) -> float:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files) / 1e6


def _latencies(export: Path, batches: tuple[int, ...]) -> dict[int, float]:
    """Seconds a call, the median of 5, of the export as it was written."""
    model = exported.load(export)
    found = {}
    for batch in batches:
        # The first call is not counted.
        times = []
        for _ in range(6):
            start = time.perf_counter()
            next(model.batches(0, batch, batch))
            times.append(time.perf_counter() - start)
        found[batch] = statistics.median(times[1:])
    return found


def _card(metadata: dict[str, Any]) -> str:
    """The model card, as Markdown (Mitchell et al. 2019, "Model Cards")."""
    rate_hz, config = metadata["sample_rate_hz"], metadata["config"]
    stft = config["stft"]
    asked = {
        "label": f"a label: {', '.join(metadata['labels'])}",
        "cluster": "nothing; kinds of windows are drawn by the seed",
        "none": "nothing",
    }[metadata["condition"]]
    figures = "\n".join(
        f"- {name}: {value:.4g}" for name, value in metadata["watch"].items()
    )
    return f"""# Generator of speech STFT windows

Makes {metadata["samples"] / rate_hz:.2f} s of audio at {rate_hz} Hz from a
seed; it can be asked for {asked}.

- {metadata["parameters"]:,} parameters, {config["model"]["networks"]} networks
- STFT {stft["frame_length"]}/{stft["frame_step"]}, windows of
  {" x ".join(map(str, metadata["window_shape"]))}
- loss {config["train"]["loss"]}, step {metadata["step"]},
  {metadata["train_secs"] / 60:.1f} minutes of training
- TensorFlow {metadata["tensorflow"]}
- data: manifest {metadata["data_manifest_sha256"]}

## Its variety and truth when it was saved, against training windows

{figures or "They were not measured at this step."}

## Use

It has learnt the voices, the words and the rooms of its training recordings,
and nothing else: what it makes is no statement of any speaker's, and its
licence is bound by theirs. `python -m stftgan_tf.evaluate` measures variety
and truth, and whether windows are copies of training windows.
"""


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s")
    sys.exit(main())
