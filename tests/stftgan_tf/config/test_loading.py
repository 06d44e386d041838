import pytest
import yaml

from stftgan_tf import config as config_lib
from stftgan_tf.config import ConfigError
from tests.conftest import ROOT


def write(path, text):
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stft.frame_lenght=64", "unknown key .*; did you mean stft.frame_len"),
        ("model.generator.widht=8", "did you mean model.generator.width"),
        ("trian.steps=8", "unknown key trian; did you mean train"),
        ("train.steps=1.5", r"train.steps is 1.5 \(float\); expected int"),
        ("train.steps=many", r"train.steps is 'many' \(str\); expected int"),
        ("train.steps=true", "expected int"),
        ("train.critic_lr=fast", "expected a finite number"),
        ("train.critic_lr=.inf", "expected a finite number"),
        ("train.loss=gan", "expected one of wgan, wgan-gp"),
        ("train.batch_size=0", "train.batch_size is 0; expected 1 to"),
        ("model.generator=8", "model.generator: expected keys and values"),
        ("train.steps.more=8", "train.steps is {'more': 8}"),
        ("train.steps=[", "is not a YAML value"),
        ("train.steps", "expected SECTION.KEY=VALUE"),
        ("steps=3", "expected SECTION.KEY=VALUE"),
        ("model.halvings=3", "halvings is now model.num_downsamples"),
        ("model.packing=2", "a feature that was removed"),
        # Known only once the config is complete.
        ("window.frames=18", "window.frames is 18; expected a multiple of 4"),
    ],
)
def test_mistake_in_an_override_is_blamed_on_it(override, message):
    with pytest.raises(ConfigError, match=message) as error:
        config_lib.load("tiny", ["train.seed=1", override])
    assert f"--set {override}: " in str(error.value)
    assert "tiny.yaml" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("audio: {}\nstft: {}\nwindow: {}\n", "sample_rate_hz is missing"),
        ("extends: tiny\ntrain: {stepz: 5}\n", "did you mean train.steps"),
        ("extends: tiny\nwindow: {frames: 18}\n", "expected a multiple of 4"),
        (
            "extends: tiny\ntrain:\n",
            "train: expected keys and values, got N",
        ),
        ("extends: tinny\n", "no config file 'tinny'; did you mean 'tiny'?"),
        ("extends: [tiny]\n", "extends is .*; expected a name or a path"),
        ("extends: c.yaml\n", "extends itself: c.yaml -> c.yaml"),
        ("audio: [", "not readable as YAML"),
        ("- audio\n", "expected sections, got"),
    ],
)
def test_mistake_in_a_file_is_blamed_on_it(tmp_path, text, message):
    path = write(tmp_path / "c.yaml", text)
    with pytest.raises(ConfigError, match=message) as error:
        config_lib.load(path, ["train.seed=1"])
    assert str(error.value).startswith(f"{path}: ")


def test_override_can_fix_a_file(tmp_path):
    path = write(tmp_path / "c.yaml", "extends: tiny\nwindow: {frames: 18}\n")
    assert config_lib.load(path, ["window.frames=32"]).window.frames == 32


def test_overrides_have_the_type_of_the_key():
    config = config_lib.load(
        "tiny", ["train.critic_lr=1e-4", "train.steps=7", "audio.level_db=-1"]
    )
    assert config.train.critic_lr == 1e-4
    assert config.train.steps == 7
    assert isinstance(config.audio.level_db, float)
    # YAML reads an unquoted true as a boolean.
    config = config_lib.load("tiny", ["train.jit_compile=true"])
    assert config.train.jit_compile == "true"
    # Other keys of a section that is overridden stay.
    config = config_lib.load("tiny", ["model.critic={width: 8}"])
    assert (config.model.critic.width, config.model.critic.kernel) == (8, 3)
    config = config_lib.load("tiny", ["audio.name_regex="])
    assert config.audio.name_regex == ""


def test_extends_takes_a_shipped_config_or_a_relative_path(tmp_path):
    (tmp_path / "base").mkdir()
    text = "extends: tiny\ntrain: {steps: 7, seed: 1}\n"
    write(tmp_path / "base" / "a.yaml", text)
    text = "extends: base/a.yaml\ntrain: {steps: 9}\n"
    path = write(tmp_path / "b.yaml", text)
    config = config_lib.load(path, ["train.log_every=3"])
    overrides = ["train.steps=9", "train.seed=1", "train.log_every=3"]
    assert config == config_lib.load("tiny", overrides)
    # What is saved is complete.
    assert "extends" not in config.to_yaml()


def test_extends_refuses_a_cycle(tmp_path):
    write(tmp_path / "a.yaml", "extends: b.yaml\n")
    path = write(tmp_path / "b.yaml", "extends: a.yaml\n")
    with pytest.raises(ConfigError, match="b.yaml -> a.yaml -> b.yaml"):
        config_lib.load(path)


def test_mistake_in_an_extended_file_is_blamed_on_that_file(tmp_path):
    base = write(tmp_path / "base.yaml", "extends: tiny\ntrain: {loss: x}\n")
    path = write(tmp_path / "c.yaml", "extends: base.yaml\n")
    with pytest.raises(ConfigError, match=r"train\.loss is 'x'") as error:
        config_lib.load(path)
    assert str(error.value).startswith(f"{base}: ")


def test_name_and_path_mean_the_same_config(monkeypatch, tmp_path):
    path = ROOT / "configs" / "digits8k.yaml"
    monkeypatch.chdir(tmp_path)
    assert config_lib.load("digits8k") == config_lib.load(path)
    assert config_lib.load("configs/digits8k.yaml") == config_lib.load(path)
    message = "did you mean 'digits8k'.* shipped configs: digits8k, sc09"
    with pytest.raises(ConfigError, match=message):
        config_lib.load("digits9k")


def test_differences_name_the_keys_on_either_side():
    left = {"a": {"b": 1, "c": 2}, "d": 3}
    right = {"a": {"b": 1, "c": 4}}
    assert config_lib.differences(left, right) == [
        ("a.c", 2, 4),
        ("d", 3, None),
    ]


def test_print_config_prints_yaml_that_loads_again(capsys, tiny):
    assert config_lib.print_config(tiny) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert config_lib.from_dict(values) == tiny
