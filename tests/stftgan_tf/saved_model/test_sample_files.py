import dataclasses
import json

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from stftgan_tf.dsp import stft
from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.saved_model import sample_files, sampling
from stftgan_tf.saved_model.request import SampleRequest


def write(model, output, kind="wav", **request):
    """Writes the samples and returns the rows of samples.json."""
    sample_files.write(model, [SampleRequest(**request)], output, kind)
    return json.loads((output / "samples.json").read_text())["samples"]


@pytest.fixture(scope="module")
def samples(loaded, tmp_path_factory):
    """The directory of 40 samples from seed 5 on."""
    output = tmp_path_factory.mktemp("samples") / "x"
    write(loaded, output, num=40, seed=5)
    return output


def test_the_files(samples, tiny):
    names = sorted(p.name for p in samples.iterdir())
    wavs = [f"seed-{seed:06d}.wav" for seed in range(5, 45)]
    assert names == sorted([*wavs, "grid.png", "samples.json"])
    for path in samples.glob("*.wav"):
        audio, rate = soundfile.read(path)
        assert rate == 8000 and len(audio) == tiny.window_samples
        assert 1e-3 < np.abs(audio).max() < 0.99
    # The picture has a row for every eight windows.
    image = tf.io.decode_png((samples / "grid.png").read_bytes())
    # Five rows, and the labels of the axis below them.
    assert image.shape[0] == 5 * 170 + 40


def test_the_list_describes_every_file(samples):
    contents = json.loads((samples / "samples.json").read_text())
    assert contents["sample_rate_hz"] == 8000 and contents["step"] == 20
    assert len(contents["samples"]) == 40
    for row in contents["samples"]:
        audio, _ = soundfile.read(samples / row["file"])
        assert row["peak"] == pytest.approx(np.abs(audio).max(), abs=1e-3)
        assert row["rms"] == pytest.approx(audio.std(), abs=1e-2)


def test_a_flac_contains_what_the_wav_does(loaded, samples, tmp_path):
    for row in write(loaded, tmp_path, "flac", num=2, seed=5):
        flac, _ = soundfile.read(tmp_path / row["file"])
        wav, _ = soundfile.read(samples / f"seed-{row['seed']:06d}.wav")
        np.testing.assert_allclose(flac, wav, atol=2**-14)


def test_from_one_seed_to_another(loaded, samples, tmp_path):
    rows = write(loaded, tmp_path, num=3, interpolate=(5, 9))
    assert [row["weight"] for row in rows] == [0.0, 0.5, 1.0]
    assert rows[1]["file"] == "seed-000005-to-000009-at-0.500000.wav"
    first, _ = soundfile.read(tmp_path / rows[0]["file"])
    expected, _ = soundfile.read(samples / "seed-000005.wav")
    np.testing.assert_allclose(first, expected, atol=1e-3)


def test_truncation_is_in_the_name_and_in_the_audio(loaded, samples, tmp_path):
    (row,) = write(loaded, tmp_path, num=1, seed=5, truncation=0.2)
    assert row["file"] == "truncation-0.2-seed-000005.wav"
    truncated, _ = soundfile.read(tmp_path / row["file"])
    whole, _ = soundfile.read(samples / "seed-000005.wav")
    assert np.abs(truncated - whole).max() > 1e-3


def test_a_label_may_be_a_name_or_a_number(labelled, tmp_path):
    metadata = {**labelled.metadata, "labels": ["zero", "o/ne", *"23456789"]}
    model = dataclasses.replace(labelled, metadata=metadata)
    expected = next(labelled.batches(3, 1, 1, np.array([1])))
    for label in ("o/ne", "1"):
        (row,) = write(model, tmp_path / label[0], num=1, seed=3, label=label)
        assert row["file"] == "label-o_ne-seed-000003.wav"
        assert (row["seed"], row["label"]) == (3, "o/ne")
        wav = (tmp_path / label[0] / row["file"]).read_bytes()
        assert wav == expected["wav_bytes"][0]


def test_list_and_names_contain_the_labels_that_seeds_draw(labelled, tmp_path):
    rows = write(labelled, tmp_path, num=20)
    labels = [row["label"] for row in rows]
    assert len(set(labels)) > 3
    for row in rows:
        name = f"label-{row['label']}-seed-{row['seed']:06d}.wav"
        assert row["file"] == name
        # It is the label that the graph has drawn for this seed.
        index = labelled.label_index(row["label"])
        batch = labelled.batches(row["seed"], 1, 1, np.array([index]))
        wav = (tmp_path / name).read_bytes()
        assert next(batch)["wav_bytes"][0] == wav
    rows = write(labelled, tmp_path, num=2, interpolate=(4, 5))
    assert {row["label"] for row in rows} == {labels[4]}


def test_samples_replace_earlier_ones_as_a_whole(loaded, labelled, tmp_path):
    write(loaded, tmp_path / "x", num=3)
    write(loaded, tmp_path / "x", num=1, seed=7, kind="flac")
    names = sorted(path.name for path in (tmp_path / "x").iterdir())
    assert names == ["grid.png", "samples.json", "seed-000007.flac"]
    # Those of another model, too.
    (row,) = write(labelled, tmp_path / "x", num=1, secs=0.1)
    names = sorted(path.name for path in (tmp_path / "x").iterdir())
    assert names == ["samples.json", row["file"]]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("name", ["seed-000001.wav", "notes.txt"])
def test_files_of_the_user_are_never_touched(loaded, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match="contains something else .no samples"):
        write(loaded, tmp_path, num=2)
    (tmp_path / name).unlink()
    write(loaded, tmp_path, num=1)
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"contains files of yours .{name}"):
        write(loaded, tmp_path, num=2)
    assert (tmp_path / name).read_text() == "mine"
    assert (tmp_path / "seed-000000.wav").exists()


def test_a_failure_keeps_earlier_samples(loaded, tmp_path, monkeypatch):
    write(loaded, tmp_path / "x", num=1)

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sample_files.pictures, "grid", fail)
    with pytest.raises(OSError, match="No space left"):
        write(loaded, tmp_path / "x", num=2)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert not (tmp_path / "x" / "seed-000001.wav").exists()


def test_pghi_keeps_the_spectrogram_and_changes_the_phase(
    loaded, samples, tmp_path, tiny
):
    for row in write(loaded, tmp_path, num=3, seed=5, phase="pghi"):
        assert row["file"] == f"pghi-seed-{row['seed']:06d}.wav"
        name = row["file"].removeprefix("pghi-")
        audio = [
            soundfile.read(path, dtype="float32")[0]
            for path in (tmp_path / row["file"], samples / name)
        ]
        assert not np.array_equal(*audio)
        new, old = (np.abs(stft.forward(a, tiny.stft)) for a in audio)
        assert np.linalg.norm(new - old) < 0.6 * np.linalg.norm(old)


def test_samples_last_as_many_seconds_as_requested(loaded, tmp_path):
    rows = write(loaded, tmp_path, num=2, secs=1.25)
    wavs = [f"secs-1.25-seed-{seed:06d}.wav" for seed in (0, 1)]
    assert [row["file"] for row in rows] == wavs
    assert not (tmp_path / "grid.png").exists()
    audio, rate = soundfile.read(tmp_path / wavs[0])
    assert len(audio) == 1.25 * rate and abs(audio[-1]) < 1e-4
    # All of it is sound, not the first window alone.
    assert all(np.abs(part).max() > 1e-3 for part in np.split(audio, 10))


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"secs": 99.0}, UsageError, "--secs is 99.0"),
        ({"secs": -1.0}, UsageError, "generates up to 5."),
        ({"label": "7"}, UserError, "has no labels"),
    ],
)
def test_what_the_model_cannot_do_is_refused_at_once(
    loaded, values, error, message
):
    with pytest.raises(error, match=message):
        sampling.generate(loaded, SampleRequest(**values))
