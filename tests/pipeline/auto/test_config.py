"""Facts -> choices, by hand-made facts."""

import dataclasses

import pytest

from pipeline.auto.config import choose_config
from pipeline.auto.document import nested, summary, to_yaml
from pipeline.auto.name_patterns import Field, Names
from stftgan_tf import config as config_lib
from stftgan_tf.errors import UserError
from tests.pipeline.auto.facts import (
    SPEECH_16K,
    WORDS_8K,
    WORDS_IN_NOISE,
    field,
    groups,
)


def config_for(facts, minutes=30.0, **changes):
    facts = dataclasses.replace(facts, **changes)
    return config_lib.from_dict(nested(choose_config(facts, minutes)))


def reason(facts, topic, **changes):
    facts = dataclasses.replace(facts, **changes)
    (choice,) = [c for c in choose_config(facts, 30.0) if c.topic == topic]
    return choice.reason


@pytest.mark.parametrize(
    ("facts", "name"), [(WORDS_8K, "digits8k"), (SPEECH_16K, "speech16k")]
)
def test_recordings_of_a_measured_recipe_get_that_recipe(facts, name):
    config, recipe = config_for(facts), config_lib.load(name)
    for section in ("stft", "window", "model", "augment", "train", "watch"):
        assert getattr(config, section) == getattr(recipe, section), section
    assert config.audio.sample_rate_hz == recipe.audio.sample_rate_hz


def test_words_in_noise_get_windows_of_a_second_on_the_speech():
    config = config_for(WORDS_IN_NOISE)
    assert config.window.place == "speech"
    assert config.window.tail == "crop"
    assert config.window.frames == 128 and config.stft.frame_step == 128
    assert config.model.num_downsamples == 5
    assert config.stft.floor_db == -80
    assert config.audio.labels == "folder" and config.audio.speakers == "none"
    assert config.split.by == "recording"


def test_recordings_of_one_second_are_one_window_each():
    config = config_for(
        WORDS_8K, lengths_secs=(0.9, 1.0, 1.0), rates={16000: 1.0}
    )
    assert (config.window.frames, config.window.place) == (128, "grid")
    assert config.window.tail == "crop"


def test_textures_get_windows_of_a_second():
    config = config_for(SPEECH_16K, kind="texture")
    assert (config.window.frames, config.window.stride_frames) == (128, 64)


@pytest.mark.parametrize(
    ("rates", "bandwidth_hz", "expected"),
    [
        ({48000: 1.0}, 8000.0, 16000),
        ({48000: 1.0}, 3900.0, 8000),
        ({11025: 1.0}, 5400.0, 8000),
        ({16000: 0.6, 8000: 0.4}, 7900.0, 16000),
        ({8000: 0.6, 44100: 0.4}, 7900.0, 8000),
    ],
)
def test_sample_rate_is_that_of_most_of_the_audio(
    rates, bandwidth_hz, expected
):
    config = config_for(SPEECH_16K, rates=rates, bandwidth_hz=bandwidth_hz)
    assert config.audio.sample_rate_hz == expected


def test_cancelling_channels_are_not_averaged():
    assert config_for(SPEECH_16K).audio.channels == "mean"
    config = config_for(SPEECH_16K, cancelling_share=0.5)
    assert config.audio.channels == "first"


@pytest.mark.parametrize(
    ("speakers", "by"), [(9, "recording"), (10, "speaker")]
)
def test_few_speakers_are_in_both_splits(speakers, by):
    config = config_for(
        SPEECH_16K,
        names=dataclasses.replace(SPEECH_16K.names, speakers=field(speakers)),
        by_speaker=groups(speakers, 2950.0),
    )
    assert config.split.by == by


def test_small_data_get_fewer_clusters():
    changes = {"recordings": 12, "secs": 100.0}
    config = config_for(
        SPEECH_16K,
        names=Names(),
        by_recording=groups(12, 100.0),
        **changes,
    )
    # About 370 windows, of which 50 or more are held out.
    assert config.split.eval_fraction > 0.1
    assert 4 <= config.model.clusters < 20
    assert config.evaluate.clusters == config.watch.clusters < 50


def test_tiny_data_have_no_clusters():
    config = config_for(
        WORDS_8K,
        recordings=80,
        surveyed=80,
        secs=35.0,
        by_recording=groups(80, 35.0),
    )
    assert config.model.condition == "none"


def test_too_little_is_refused():
    changes = {"recordings": 12, "surveyed": 12, "secs": 5.0}
    with pytest.raises(UserError, match="about 12 windows.*at least 60"):
        config_for(WORDS_8K, by_recording=groups(12, 5.0), **changes)


def test_wide_networks_need_hours_and_many_windows():
    many = {
        "recordings": 60000,
        "secs": 26000.0,
        "by_recording": groups(60000, 26000.0),
    }
    assert config_for(WORDS_8K, minutes=600.0).model.critic.width == 256
    assert config_for(WORDS_8K, **many).model.critic.width == 256
    config = config_for(WORDS_8K, minutes=600.0, **many)
    assert config.model.critic.width == config.model.generator.width == 320
    # The time ends the training, not the number of steps.
    assert config.train.steps > 600 * 60 * 395 / 64


def test_yaml_loads_back_and_gives_a_reason_for_each_choice():
    choices = choose_config(WORDS_IN_NOISE, 30.0)
    text = to_yaml(choices, WORDS_IN_NOISE, "abc")
    assert text.startswith("# Chosen by --config auto: 1,676 recordings of")
    for choice in choices:
        assert f"  # {choice.topic}: {choice.reason}\n" in text
    lines = summary(choices, WORDS_IN_NOISE)
    assert 8 <= len(lines) <= 13


def test_a_part_of_names_that_could_be_either_is_left_alone():
    names = Names(unclear=2)
    assert "2 parts of the names repeat" in reason(
        WORDS_8K, "labels", names=names
    )
    config = config_for(WORDS_8K, names=names)
    assert config.audio.labels == config.audio.speakers == "none"


def test_labels_of_a_manifest_are_left_to_it():
    names = Names(labels=Field("auto", ("no", "yes"), "the source itself"))
    config = config_for(WORDS_8K, names=names)
    assert config.audio.labels == "auto" and not config.audio.name_regex
