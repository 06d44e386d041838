import dataclasses

import pytest
import yaml

from stftgan_tf import config as config_lib
from stftgan_tf.config import ConfigError
from tests.conftest import ROOT, run_command


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stft.frame_lenght=64", "did you mean stft.frame_length"),
        ("model.generator.widht=8", "did you mean model.generator.width"),
        ("trian.steps=8", "did you mean train"),
        ("train.steps=1.5", r"train.steps is 1.5 \(float\); expected int"),
        ("train.steps=many", r"train.steps is 'many' \(str\); expected int"),
        ("train.steps=true", "expected int"),
        ("train.critic_lr=fast", "expected a finite number"),
        ("train.loss=gan", "expected one of wgan, wgan-gp"),
        ("train.batch_size=0", "train.batch_size is 0; expected 1 to"),
        ("stft.frame_step=64", "cannot be reconstructed; use at most 32"),
        ("model.phase=frequency", "which records hold where window.phase is"),
        ("stft.frame_length=63", "expected even"),
        ("window.frames=18", "expected a multiple of 4"),
        ("model.generator.kernel=4", "expected odd"),
        ("audio.name_regex='('", "audio.name_regex is no regex"),
        ("audio.name_regex='(?P<word>.)'", "expected only label and speaker"),
        ("split.by=regex", "split.eval_regex is empty"),
        ("model.generator=8", "expected keys and values"),
        ("train.steps", "expected SECTION.KEY=VALUE"),
        ("steps=3", "expected SECTION.KEY=VALUE"),
    ],
)
def test_what_cannot_work_is_refused_by_name(override, message):
    with pytest.raises(ConfigError, match=message):
        config_lib.load("tiny", [override])


@pytest.mark.parametrize(
    ("both", "message"),
    [
        (
            ["train.strategy=multiworker", "watch.on_collapse=rollback"],
            "cannot; expected stop or warn",
        ),
        (
            [
                "train.strategy=mirrored",
                "model.spectral_norm=true",
                "train.penalty_interval=2",
            ],
            "expected train.penalty_interval 1",
        ),
        (
            ["train.strategy=mirrored", "train.steps_per_execution=5"],
            "expected train.steps_per_execution 1",
        ),
        (
            ["train.loss=wgan", "model.spectral_norm=true"],
            "expected one of them",
        ),
    ],
)
def test_what_cannot_work_together_is_refused(both, message):
    with pytest.raises(ConfigError, match=message):
        config_lib.load("tiny", both)


def test_a_missing_key_is_named(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("audio: {}\nstft: {}\nwindow: {}\n")
    with pytest.raises(ConfigError, match="audio.sample_rate_hz is missing"):
        config_lib.load(str(path))


def test_a_file_that_is_no_yaml_is_refused(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("audio: [")
    with pytest.raises(ConfigError, match="not readable as YAML"):
        config_lib.load(str(path))


def test_overrides_keep_their_type():
    config = config_lib.load(
        "tiny", ["train.critic_lr=1e-4", "train.steps=7", "audio.level_db=-1"]
    )
    assert config.train.critic_lr == 1e-4
    assert config.train.steps == 7
    assert config.audio.level_db == -1.0
    assert isinstance(config.audio.level_db, float)


def test_jit_compile_takes_yaml_booleans():
    config = config_lib.load("tiny", ["train.jit_compile=true"])
    assert config.train.jit_compile == "true"


@pytest.mark.parametrize("name", sorted(config_lib.shipped()))
def test_shipped_configs_load_and_open_with_a_lab_note(name):
    config = config_lib.load(name)
    text = config_lib.shipped()[name].read_text()
    assert text.startswith("# Lab note.")
    assert config_lib.from_dict(yaml.safe_load(config.to_yaml())) == config


def test_the_shipped_shapes():
    shapes = {
        name: (config.audio.sample_rate_hz, *config.window_shape)
        for name in config_lib.shipped()
        for config in [config_lib.load(name)]
    }
    assert shapes["digits8k"] == (8000, 64, 128)
    assert shapes["speech16k"] == (16000, 64, 256)
    assert shapes["specgan16k"] == (16000, 128, 128)


def test_derived_numbers(tiny):
    # 16 frames of 64 samples, 32 apart.
    assert tiny.window_samples == 15 * 32 + 64
    assert tiny.stride_samples == 16 * 32
    # -3 dB of level and -70 dB of floor as a natural logarithm.
    assert tiny.log_floor == pytest.approx(-8.4044, abs=1e-4)


def test_the_data_hash_knows_data_from_training(tiny):
    def changed(section, **values):
        part = dataclasses.replace(getattr(tiny, section), **values)
        return dataclasses.replace(tiny, **{section: part}).data_hash()

    assert changed("train", steps=3) == tiny.data_hash()
    assert changed("window", stride_frames=8) != tiny.data_hash()


def test_names_and_paths_mean_the_same(monkeypatch, tmp_path):
    by_path = config_lib.load(str(ROOT / "configs" / "digits8k.yaml"))
    monkeypatch.chdir(tmp_path)
    assert config_lib.load("digits8k") == by_path
    assert config_lib.load("configs/digits8k.yaml") == by_path
    with pytest.raises(ConfigError, match="shipped configs: digits8k"):
        config_lib.load("digits9k")


def test_print_config_shows_what_was_overridden():
    done = run_command(
        "pipeline.preprocess", "--print-config", "--set", "window.frames=64"
    )
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["window"]["frames"] == 64
