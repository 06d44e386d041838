"""The function that TFX's Trainer calls; it does not import TFX."""

import os
import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.data import dataset
from stftgan_tf.errors import UserError
from stftgan_tf.saved_model import writing
from stftgan_tf.training import loop


def run_fn(fn_args: Any) -> None:
    """Trains on the examples that TFX ingested, and exports the model.

    Args:
      fn_args: TFX's arguments: `train_files`, `train_steps`, `model_run_dir`,
        `serving_model_dir`, and `custom_config` with `config` (as
        `Config.to_dict`), `data` (the data set that was ingested) and
        optionally `minutes` (time limit of the training).

    Raises:
      UserError: if the data cannot be used, or the training was interrupted.
    """
    settings = fn_args.custom_config
    config = config_lib.from_dict(settings["config"])
    # A train file is <examples>/Split-train/<pattern>.
    examples = os.path.dirname(os.path.dirname(fn_args.train_files[0]))
    shards = dataset.open_examples(examples, settings["data"], config)
    with tempfile.TemporaryDirectory() as directory:
        run, model = Path(directory, "run"), Path(directory, "model")
        result = loop.train(
            config,
            shards,
            run,
            fn_args.train_steps,
            settings.get("minutes"),
        )
        if result.interrupted:
            raise UserError(f"training was interrupted at step {result.step}")
        writing.export(run, model)
        copy(str(run), fn_args.model_run_dir)
        copy(str(model), fn_args.serving_model_dir)


def copy(source: str, target: str) -> None:
    """Copies a directory to another one; both may be remote.

    `saved_model.pb` is copied last, so that a partial copy is not an export.
    """
    files = [
        os.path.join(directory, name)
        for directory, _, names in tf.io.gfile.walk(source)
        for name in names
    ]
    for path in sorted(files, key=lambda path: path.endswith("saved_model.pb")):
        new_path = os.path.join(target, os.path.relpath(path, source))
        tf.io.gfile.makedirs(os.path.dirname(new_path))
        tf.io.gfile.copy(path, new_path, overwrite=True)
