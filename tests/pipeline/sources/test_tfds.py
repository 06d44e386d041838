import zlib

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds

from pipeline.audio import reading as audio
from pipeline.sources import recordings as sources
from stftgan_tf.config import AudioConfig
from stftgan_tf.errors import UserError
from tests.conftest import noise, preprocess_tiny

RATE = 8000
CONFIG = AudioConfig(sample_rate_hz=RATE)
WORDS = ["yes", "no"]


def waves():
    """Three recordings, 16 bits, of different lengths and levels."""
    return [
        np.int16(32767 * level * noise(samples))
        for level, samples in ((1.0, 3000), (0.5, 4000), (0.1, 2000))
    ]


def prepare(folder, features, examples, config=None, version="1.0.0"):
    """A data set as TFDS itself writes it, one shard a split."""

    # Each call makes another class of that name.
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

    Spoken(data_dir=str(folder), config=config).download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )


def layout(name, folder):
    """Features and rows in the ways of TFDS' speech data sets."""
    files = []
    for index, wave in enumerate(waves()):
        files.append(folder / f"{index}.flac")
        soundfile.write(files[-1], wave, RATE)
    audio_of, key, samples = tfds.features.Audio, "speech", waves()
    if name == "spoken_digit":
        key, feature = "audio", audio_of(sample_rate=RATE)
    elif name == "vctk":
        feature = audio_of(sample_rate=RATE, dtype=np.int16)
    elif name == "zlib":
        feature = audio_of(
            sample_rate=RATE, dtype=np.int16, encoding="zlib", shape=(None, 1)
        )
        # As TFDS stores what it decodes itself, from files.
        samples = [
            np.array(zlib.compress(wave.tobytes()), object) for wave in samples
        ]
    elif name == "librispeech:lazy_decode":
        feature = audio_of(
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
def test_every_way_of_storing_audio(tmp_path, name):
    features, rows = layout(name, tmp_path)
    prepare(tmp_path, features, {"train": rows[:2], "test": rows[2:]})
    found = sources.open_source(
        "tfds:spoken", CONFIG, tfds_data_dir=str(tmp_path)
    )
    assert found.labels == ["no", "yes"]
    facts = {
        (r.name.split("/")[0], found.labels[r.label], r.speaker)
        for r in found.recordings
    }
    assert facts == {
        ("train", "yes", "10"),
        ("train", "no", "11"),
        ("test", "yes", "12"),
    }
    by_speaker = {r.speaker: r.path for r in found.recordings}
    for index, wave in enumerate(waves()):
        path = by_speaker[str(10 + index)]
        (seen,) = audio.scan(path, CONFIG)
        assert seen.samples == len(wave)
        got = audio.read(path, CONFIG, 0, len(wave))
        np.testing.assert_array_equal(got, np.float32(wave / 32768))


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
def test_a_split_can_be_named(prepared, source, count):
    found = sources.open_source(source, CONFIG, tfds_data_dir=str(prepared))
    assert len(found.recordings) == count


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("tfds:other", "not prepared below"),
        ("tfds:spoken:dev", "expected one of the splits"),
        ("tfds:spoken:a:b:c", "expected one of the splits"),
        ("tfds:spoken:train[:x]", "tfds:spoken:train"),
        ("tfds:spoken:train[10]", "tfds:spoken:train"),
    ],
)
def test_a_set_that_is_not_there(prepared, source, message):
    with pytest.raises(UserError, match=message):
        sources.open_source(source, CONFIG, tfds_data_dir=str(prepared))


def test_the_newest_version_of_a_config(tmp_path):
    features, rows = layout("vctk", tmp_path)
    for config, version, count in (
        ("small", "1.0.0", 1),
        ("small", "1.10.0", 2),
        ("small", "1.9.0", 1),
        ("large", "1.0.0", 3),
    ):
        prepare(tmp_path, features, {"train": rows[:count]}, config, version)

    def count(source):
        found = sources.open_source(source, CONFIG, tfds_data_dir=str(tmp_path))
        return len(found.recordings)

    assert count("tfds:spoken:small") == 2
    assert count("tfds:spoken:large:train") == 3
    with pytest.raises(UserError, match="has the configs"):
        count("tfds:spoken")


def test_a_set_without_audio_or_rate_is_refused(tmp_path):
    rows = {"train": [{"speech": waves()[0]}]}
    prepare(tmp_path / "a", {"speech": tfds.features.Audio()}, rows)
    with pytest.raises(UserError, match="does not tell its sample rate"):
        sources.open_source("tfds:spoken", CONFIG, "*", str(tmp_path / "a"))
    rows = {"train": [{"speech": 1}]}
    prepare(tmp_path / "b", {"speech": np.int64}, rows)
    with pytest.raises(UserError, match="0 audio features; expected one"):
        sources.open_source("tfds:spoken", CONFIG, "*", str(tmp_path / "b"))


def test_a_record_that_is_damaged_is_a_dead_letter(prepared):
    found = sources.open_source("tfds:spoken:test", CONFIG, "*", str(prepared))
    (record,) = found.recordings
    path = next(prepared.glob("spoken/1.0.0/*test*"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(audio.AudioError, match="unreadable: damaged record"):
        audio.scan(record.path, CONFIG)


@pytest.mark.parametrize("damage", ["a record less", "half a header", "bits"])
def test_a_file_that_is_cut_or_damaged_is_refused(prepared, damage):
    (path,) = prepared.glob("spoken/1.0.0/*train*")
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little") + 16
    path.write_bytes(
        {
            "a record less": data[:size],
            "half a header": data[: size + 5],
            "bits": bytes([data[0] ^ 64]) + data[1:],
        }[damage]
    )
    with pytest.raises(UserError, match="truncated"):
        sources.open_source("tfds:spoken", CONFIG, "*", str(prepared))


def test_from_a_prepared_set_to_shards(prepared, tmp_path):
    output = tmp_path / "out"
    more = [f"--tfds_data_dir={prepared}", "--set=split.eval_fraction=0"]
    assert preprocess_tiny("tfds:spoken", output, *more) == 0
    assert (output / "manifest.json").is_file()
