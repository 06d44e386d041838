import zlib

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds

from pipeline.audio import reading
from pipeline.audio.errors import AudioError
from pipeline.sources import recordings
from stftgan_tf.config import AudioConfig
from stftgan_tf.errors import UserError
from tests.conftest import noise, preprocess_tiny

RATE = 8000
CONFIG = AudioConfig(sample_rate_hz=RATE)
WORDS = ["yes", "no"]


def open_source(source, data_dir):
    return recordings.open_source(source, CONFIG, tfds_data_dir=str(data_dir))


def waves():
    """Three recordings, 16 bits, of different lengths and levels."""
    return [
        np.int16(32767 * level * noise(samples))
        for level, samples in ((1.0, 3000), (0.5, 4000), (0.1, 2000))
    ]


def prepare(directory, features, examples, config=None, version="1.0.0"):
    """Writes a data set with TFDS itself, one shard per split."""

    # Every call defines a new class of that name.
    class Spoken(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)
        BUILDER_CONFIGS = (
            [tfds.core.BuilderConfig(name=config)] if config else []
        )

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
            )

        def _split_generators(self, dl_manager):
            return {split: enumerate(rows) for split, rows in examples.items()}

        def _generate_examples(self):
            pass

    Spoken(data_dir=str(directory), config=config).download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )


def layout(name, directory):
    """Features and rows as TFDS's speech data sets have them."""
    files = []
    for index, wave in enumerate(waves()):
        files.append(directory / f"{index}.flac")
        soundfile.write(files[-1], wave, RATE)
    audio, key, samples = tfds.features.Audio, "speech", waves()
    if name == "spoken_digit":
        key, feature = "audio", audio(sample_rate=RATE)
    elif name == "vctk":
        feature = audio(sample_rate=RATE, dtype=np.int16)
    elif name == "zlib":
        feature = audio(
            sample_rate=RATE, dtype=np.int16, encoding="zlib", shape=(None, 1)
        )
        # As TFDS stores samples that it has decoded from files.
        samples = [
            np.array(zlib.compress(wave.tobytes()), object) for wave in samples
        ]
    elif name == "librispeech:lazy_decode":
        feature = audio(
            sample_rate=RATE,
            lazy_decode=True,
            file_format="flac",
            dtype=np.int16,
        )
        samples = files
    features = {
        key: feature,
        "label": tfds.features.ClassLabel(names=WORDS),
        "speaker_id": np.int64,
    }
    rows = [
        {key: wave, "label": index % 2, "speaker_id": 10 + index}
        for index, wave in enumerate(samples)
    ]
    return features, rows


@pytest.mark.parametrize(
    "name", ["spoken_digit", "vctk", "zlib", "librispeech:lazy_decode"]
)
def test_every_encoding_of_audio(tmp_path, name):
    features, rows = layout(name, tmp_path)
    prepare(tmp_path, features, {"train": rows[:2], "test": rows[2:]})
    source = open_source("tfds:spoken", tmp_path)
    assert source.labels == ["no", "yes"]
    facts = {
        (r.name.split("/")[0], source.labels[r.label], r.speaker)
        for r in source.recordings
    }
    assert facts == {
        ("train", "yes", "10"),
        ("train", "no", "11"),
        ("test", "yes", "12"),
    }
    paths = {r.speaker: r.path for r in source.recordings}
    for index, wave in enumerate(waves()):
        path = paths[str(10 + index)]
        (stats,) = reading.measure(path, CONFIG)
        assert stats.samples == len(wave)
        samples = reading.read(path, CONFIG, 0, len(wave))
        np.testing.assert_array_equal(samples, np.float32(wave / 32768))


@pytest.fixture
def prepared(tmp_path):
    features, rows = layout("vctk", tmp_path)
    prepare(tmp_path, features, {"train": rows[:2], "test": rows[2:]})
    return tmp_path


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("tfds:spoken:train", 2),
        ("tfds:spoken:test", 1),
        ("tfds:spoken:train[:1]", 1),
    ],
)
def test_one_split(prepared, source, count):
    assert len(open_source(source, prepared).recordings) == count


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("tfds:other", "is not prepared in"),
        ("tfds:spoken:dev", "expected one of the splits"),
        ("tfds:spoken:a:b:c", "expected one of the splits"),
        ("tfds:spoken:train[:x]", "tfds:spoken:train"),
        ("tfds:spoken:train[10]", "tfds:spoken:train"),
    ],
)
def test_unknown_data_set_or_split(prepared, source, message):
    with pytest.raises(UserError, match=message):
        open_source(source, prepared)


def test_the_newest_version_of_a_config_is_used(tmp_path):
    features, rows = layout("vctk", tmp_path)
    for config, version, count in (
        ("small", "1.0.0", 1),
        ("small", "1.10.0", 2),
        ("small", "1.9.0", 1),
        ("large", "1.0.0", 3),
    ):
        prepare(tmp_path, features, {"train": rows[:count]}, config, version)
    assert len(open_source("tfds:spoken:small", tmp_path).recordings) == 2
    assert len(open_source("tfds:spoken:large:train", tmp_path).recordings) == 3
    with pytest.raises(UserError, match="has the configs .* choose one"):
        open_source("tfds:spoken", tmp_path)


def test_a_data_set_without_audio_or_rate_is_rejected(tmp_path):
    rows = {"train": [{"speech": waves()[0]}]}
    prepare(tmp_path / "a", {"speech": tfds.features.Audio()}, rows)
    with pytest.raises(UserError, match="does not give its sample rate"):
        open_source("tfds:spoken", tmp_path / "a")
    rows = {"train": [{"speech": 1}]}
    prepare(tmp_path / "b", {"speech": np.int64}, rows)
    with pytest.raises(UserError, match="0 audio features; expected one"):
        open_source("tfds:spoken", tmp_path / "b")


def test_a_damaged_record_is_a_dead_letter(prepared):
    (recording,) = open_source("tfds:spoken:test", prepared).recordings
    (path,) = prepared.glob("spoken/1.0.0/*test*")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AudioError, match="unreadable: damaged record"):
        reading.measure(recording.path, CONFIG)


@pytest.mark.parametrize(
    "damage", ["missing record", "half a header", "flipped bit"]
)
def test_a_damaged_file_is_rejected(prepared, damage):
    (path,) = prepared.glob("spoken/1.0.0/*train*")
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little") + 16
    path.write_bytes(
        {
            "missing record": data[:size],
            "half a header": data[: size + 5],
            "flipped bit": bytes([data[0] ^ 64]) + data[1:],
        }[damage]
    )
    with pytest.raises(UserError, match="truncated"):
        open_source("tfds:spoken", prepared)


def test_shards_of_a_prepared_data_set(prepared, tmp_path):
    output = tmp_path / "out"
    flags = [f"--tfds_data_dir={prepared}", "--set=split.eval_fraction=0"]
    assert preprocess_tiny("tfds:spoken", output, *flags) == 0
    assert (output / "manifest.json").is_file()
