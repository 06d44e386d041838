import dataclasses

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
        ("train.steps=1.5", "train.steps is '1.5'; expected a whole number"),
        ("train.steps=many", "train.steps is 'many'; expected a whole number"),
        ("train.steps=true", "expected a whole number"),
        ("train.steps=", "train.steps is ''; expected a whole number"),
        # YAML 1.1 reads these as 8, 90, 16, 1000 and 10.
        ("train.steps=010", "'010'; expected a whole number in decimal digits"),
        ("train.steps=1:30", "'1:30'; expected a whole number"),
        ("train.steps=0x10", "'0x10'; expected a whole number"),
        ("train.steps=1_000", "'1_000'; expected a whole number"),
        ("train.steps=0b1010", "'0b1010'; expected a whole number"),
        ("train.steps=" + "9" * 5000, "expected a whole number"),
        ("train.critic_lr=01.5", "'01.5'; expected a finite number"),
        ("train.critic_lr=1:30.5", "'1:30.5'; expected a finite number"),
        ("train.critic_lr=1e999", "'1e999'; expected a finite number"),
        ("model.generator={width: 010}", "model.generator.width is '010'"),
        ("model.generator={width: 8, width: 9}", "width occurs twice"),
        ("model.generator={width", "'{width' is not YAML: "),
        ("audio.label_regex=\udcff", "label_regex is .*; expected UTF-8"),
        ("train.critic_lr=fast", "expected a finite number"),
        ("train.critic_lr=.inf", "expected a finite number"),
        ("train.loss=gan", "expected one of wgan, wgan-gp"),
        ("train.batch_size=0", "train.batch_size is 0; expected 1 to"),
        ("model.generator=8", "model.generator: expected keys and values"),
        ("train.steps.more=8", "train.steps is {'more': '8'}"),
        ("train.steps=[", r"train.steps is '\['; expected a whole number"),
        ("train.steps", "expected SECTION.KEY=VALUE"),
        ("steps=3", "expected SECTION.KEY=VALUE"),
        ("model.halvings=3", "halvings is now model.num_downsamples"),
        ("model.packing=2", "a feature that was removed"),
        ("audio.label_regex=(", "label_regex is not a regular expression"),
        ("audio.label_regex=a{9999999999}", "is not a regular expression"),
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
            "train: expected keys and values, got ''",
        ),
        ("extends: tinny\n", "no config file 'tinny'; did you mean 'tiny'?"),
        ("extends: [tiny]\n", "extends is .*; expected a name or a path"),
        ("extends: c.yaml\n", "extends itself: c.yaml -> c.yaml"),
        ("audio: [", "not readable as YAML"),
        ("- audio\n", "expected sections, got"),
        ("extends: tiny\ntrain: {steps: 010}\n", "train.steps is '010'; exp"),
        ("extends: tiny\ntrain: {steps: !!int 010}\n", "steps is '010'; exp"),
        ("extends: tiny\ntrain: {seed: 1, seed: 2}\n", "seed occurs twice"),
        ("extends: tiny\ntrain:\n\tseed: 1\n", "YAML: .* in line 3, column 1"),
        ("extends: tiny\naudio: {label_regex: [7]}\n", "expected text"),
        ("[" * 2000, "not readable as YAML: it is nested too deeply"),
    ],
)
def test_mistake_in_a_file_is_blamed_on_it(tmp_path, text, message):
    path = write(tmp_path / "c.yaml", text)
    with pytest.raises(ConfigError, match=message) as error:
        config_lib.load(path, ["train.seed=1"])
    assert str(error.value).startswith(f"{path}: ")


# YAML 1.1 would read these as a list, true, 7, 12, null and so on.
TEXTS = [
    "[a-z]+: x", "yes", "7", "1_2", "take #1", "010", "1:30", "null", "~",
    "'quoted'", '"quoted"', "  spaces  ", "", "2024-01-31", "{a}", "&a", "%",
    "- a", "a=b", r"\d+(?P<label>[^/]+)/", "<<", "é", "!x",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_text_of_an_override_is_taken_as_typed(text):
    config = config_lib.load("tiny", [f"audio.label_regex={text}"])
    assert config.audio.label_regex == text
    assert config_lib.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("text", TEXTS)
def test_text_in_a_file_survives_saving_and_loading(tmp_path, text, tiny):
    audio = dataclasses.replace(tiny.audio, label_regex=text)
    config = dataclasses.replace(tiny, audio=audio)
    path = write(tmp_path / "c.yaml", config.to_yaml())
    assert config_lib.load(path) == config


@pytest.mark.parametrize(
    "text", ["7", "yes", "1_2", "010", "1:30", "null", "~", "", "2024-01-31"]
)
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_text_in_a_file_may_lack_quotes(tmp_path, text, quote):
    value = f"{quote}{text}{quote}"
    path = write(
        tmp_path / "c.yaml", f"extends: tiny\naudio: {{label_regex: {value}}}\n"
    )
    assert config_lib.load(path).audio.label_regex == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_file_of_any_common_editor_loads(tmp_path, encoding):
    path = tmp_path / "c.yaml"
    text = "extends: tiny\r\naudio:\r\n  label_regex: é\r\n"
    path.write_bytes(text.encode(encoding))
    assert config_lib.load(path).audio.label_regex == "é"


def test_anchors_and_merge_keys_work(tmp_path):
    text = """extends: tiny
model:
  generator: &size {width: 8, kernel: 5}
  critic: {<<: *size, width: 16}
"""
    model = config_lib.load(write(tmp_path / "c.yaml", text)).model
    assert (model.generator.width, model.generator.kernel) == (8, 5)
    assert (model.critic.width, model.critic.kernel) == (16, 5)


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
    for text in ("true", "True", " true"):
        config = config_lib.load("tiny", [f"train.jit_compile={text}"])
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
    message = "did you mean 'digits8k'.* shipped configs: digits8k, keywords16k"
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
