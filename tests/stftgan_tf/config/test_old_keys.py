"""Configs that the version before the renaming wrote."""

import copy
import json

import pytest
import yaml

from stftgan_tf import config as config_lib
from stftgan_tf.config import ConfigError

# `tiny` as its run saved it.
RUN = """
audio:
  sample_rate_hz: 8000
  decoder: sndfile
  channels: mean
  trim_db: 0.0
  level: peak
  level_db: -3.0
  name_regex: (?P<label>\\d)_(?P<speaker>[^_/]+)_\\d+\\.wav$
  label_regex: ''
stft:
  frame_length: 64
  frame_step: 32
  window: hann
  floor_db: -70.0
window:
  frames: 16
  stride_frames: 16
  tail: pad
  silence_db: 30.0
  phase: false
split:
  by: recording
  eval_fraction: 0.25
  eval_regex: ''
model:
  networks: frames
  latent_dim: 8
  halvings: 2
  condition: none
  clusters: 50
  packing: 1
  minibatch_stddev: 1
  spectral_norm: false
  generator:
    width: 16
    kernel: 3
  critic:
    width: 16
    kernel: 3
  phase: integrated
  griffin_lim_iterations: 8
train:
  loss: wgan-gp
  penalty_weight: 10.0
  penalty_every: 1
  drift_weight: 0.0
  clip_value: 0.01
  batch_size: 8
  steps: 20
  shuffle_windows: 64
  log_every: 5
  preview_every: 10
  checkpoint_every: 10
watch:
  every: 10
  windows: 64
  clusters: 5
  on_collapse: warn
  max_rollbacks: 3
  rollback_lr_factor: 0.5
evaluate:
  samples: 64
  clusters: 5
"""


def old_values(**changes):
    """The values of `RUN`, with `section__key` changed."""
    values = yaml.safe_load(RUN)
    for name, value in changes.items():
        section, key = name.split("__")
        values[section][key] = value
    return values


def test_saved_config_of_a_run_loads_without_a_note(tmp_path, capsys, tiny):
    path = tmp_path / "config.yaml"
    path.write_text(RUN)
    assert config_lib.load_saved(path) == tiny
    assert not capsys.readouterr().err


def test_file_of_a_user_loads_with_one_line_that_names_the_keys(
    tmp_path, capsys
):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "extends: tiny\n"
        "model: {halvings: 3, packing: 1}\n"
        "train: {penalty_every: 4, clip_value: 0.5}\n"
        "watch: {on_collapse: rollback, max_rollbacks: 9}\n"
    )
    config = config_lib.load(path)
    assert config.model.num_downsamples == 3
    assert config.train.penalty_interval == 4
    assert config.train.weight_clip == 0.5
    assert config.watch.on_collapse == "stop"
    assert capsys.readouterr().err.splitlines() == [
        f"note: {path}: model.halvings is now model.num_downsamples; "
        "model.packing was removed; "
        "train.penalty_every is now train.penalty_interval; "
        "train.clip_value is now train.weight_clip; "
        "watch.on_collapse: rollback is now stop; "
        "watch.max_rollbacks was removed"
    ]


def test_config_in_an_export_loads_without_a_note(capsys, tiny):
    values = json.loads(json.dumps(old_values()))
    before = copy.deepcopy(values)
    assert config_lib.from_dict(values) == tiny
    assert values == before
    assert not capsys.readouterr().err


def test_manifest_of_an_old_data_set_agrees_with_a_new_config(tiny):
    old = old_values()
    data = {name: old[name] for name in ("audio", "stft", "window", "split")}
    del data["audio"]["label_regex"]  # older still
    assert config_lib.complete_data_config(data) == tiny.data_dict()
    data["window"]["phase"] = True
    with pytest.raises(ConfigError, match=r"^a data set: window\.phase is T"):
        config_lib.complete_data_config(data, "a data set")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stft__window", "gaussian"),
        ("window__phase", True),
        ("model__packing", 2),
        ("model__spectral_norm", True),
        ("model__phase", "frequency"),
        ("train__drift_weight", 0.001),
        ("train__loss", "wgan-lp"),
        ("train__loss", "wgan-div"),
    ],
)
def test_removed_feature_is_refused_if_it_was_on(name, value):
    key = name.replace("__", ".")
    message = f"^e: {key} is {value!r}, a feature that was removed; preprocess"
    with pytest.raises(ConfigError, match=message):
        config_lib.from_dict(old_values(**{name: value}), source="e")


def test_old_and_new_name_of_a_key_exclude_each_other():
    values = old_values(model__num_downsamples=2)
    with pytest.raises(ConfigError, match="old name of model.num_downsamples"):
        config_lib.from_dict(values)
