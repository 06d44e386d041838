"""What TFX's Trainer calls; needs nothing of TFX itself."""

import os
import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf import export, train
from stftgan_tf.data import dataset
from stftgan_tf.errors import UserError
from stftgan_tf.training import distribute


def run_fn(fn_args: Any) -> None:
    """Trains on the examples that TFX hands over, and exports the model.

    Args:
      fn_args: TFX's: `train_files`, `train_steps`, `model_run_dir`,
        `serving_model_dir`, and `custom_config` with `config` (as
        `Config.to_dict`) and `data` (the data set that was ingested).

    Raises:
      UserError: if the data cannot be used, or the training was interrupted.
    """
    settings = fn_args.custom_config
    config = config_lib.from_dict(settings["config"])
    # <examples>/Split-train/<pattern>
    examples = os.path.dirname(os.path.dirname(fn_args.train_files[0]))
    shards = dataset.open_examples(examples, settings["data"], config)
    devices = distribute.open_strategy(config)
    with tempfile.TemporaryDirectory() as folder:
        run, model = Path(folder, "run"), Path(folder, "model")
        code = train.train(config, shards, run, devices, fn_args.train_steps)
        if code:
            raise UserError(f"the training ended with exit code {code}")
        export.export(run, model)
        copy(str(run), fn_args.model_run_dir)
        copy(str(model), fn_args.serving_model_dir)


def copy(source: str, target: str) -> None:
    """Copies a folder; both may be remote; `saved_model.pb` comes last."""
    files = [
        os.path.join(folder, name)
        for folder, _, names in tf.io.gfile.walk(source)
        for name in names
    ]
    for path in sorted(files, key=lambda path: path.endswith("saved_model.pb")):
        there = os.path.join(target, os.path.relpath(path, source))
        tf.io.gfile.makedirs(os.path.dirname(there))
        tf.io.gfile.copy(path, there, overwrite=True)
