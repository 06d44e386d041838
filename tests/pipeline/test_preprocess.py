"""The command on local files, in this process."""

import os

import numpy as np
import pytest
import soundfile

from pipeline import preprocess
from stftgan_tf import config as config_lib
from stftgan_tf.data import dataset, records
from tests.conftest import noise, preprocess_tiny
from tests.pipeline.data_sets import (
    dead_letters,
    digests,
    manifest_of,
    read,
)


def test_the_files_of_a_data_set(shards):
    names = {path.split("/")[0] for path in digests(shards)}
    assert names == {
        "Split-train",
        "Split-eval",
        "manifest.json",
        "schema.pbtxt",
        "stats.json",
        "dead_letters.jsonl",
    }
    assert not list(shards.parent.glob(".*"))


def test_the_manifest_describes_the_shards(shards, tiny):
    manifest = manifest_of(shards)
    assert manifest["recordings"] == 60 and manifest["dead_letters"] == 0
    assert manifest["labels"] == list("0123456789")
    assert manifest["config_hash"] == tiny.data_hash()
    hashes = digests(shards)
    for shard in manifest["shards"]:
        assert hashes[shard["path"]] == shard["sha256"]
    for split in records.SPLITS:
        assert len(read(shards, split)) == manifest["windows"][split]


def test_tensorflow_reads_the_records(shards):
    import tensorflow as tf

    files = sorted(str(path) for path in (shards / "Split-eval").iterdir())
    decoded = read(shards, "eval")
    for data, record in zip(
        tf.data.TFRecordDataset(files), decoded, strict=True
    ):
        example = tf.train.Example.FromString(data.numpy())
        feature = example.features.feature
        assert set(feature) == set(record)
        window = feature["window"].float_list.value
        np.testing.assert_array_equal(window, record["window"])
        name = feature["recording_id"].bytes_list.value[0]
        assert name == record["recording_id"]


def test_moments_are_those_of_the_training_windows(shards, tiny):
    windows = np.float64([r["window"] for r in read(shards, "train")])
    frames = windows.reshape(-1, tiny.stft.bins)
    moments = manifest_of(shards)["moments"]
    assert moments["frames"] == len(frames)
    np.testing.assert_allclose(moments["mean"], frames.mean(0), rtol=1e-9)
    np.testing.assert_allclose(moments["std"], frames.std(0), rtol=1e-9)
    np.testing.assert_allclose(moments["min"], frames.min(0), rtol=1e-9)


def test_no_recording_is_in_both_splits(shards):
    train, evaluation = (
        {record["recording_id"] for record in read(shards, split)}
        for split in records.SPLITS
    )
    assert train and evaluation and not train & evaluation


def test_records_have_label_and_speaker(shards):
    for record in read(shards, "eval"):
        digit, speaker, _ = record["recording_id"].decode().split("_")
        assert record["label"] == int(digit)
        assert record["speaker"].decode() == speaker


def test_split_channels_reach_the_records(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    wave = np.stack([noise(4000), noise(4000)[::-1]], axis=1)
    soundfile.write(source / "two.wav", wave, 8000)
    output = tmp_path / "out"
    more = ["--set=audio.channels=split", "--set=split.eval_fraction=0"]
    assert preprocess_tiny(source, output, *more) == 0
    decoded = read(output, "train")
    names = {record["recording_id"] for record in decoded}
    assert names == {b"two.wav#0", b"two.wav#1"}
    config = config_lib.load("tiny", [flag[6:] for flag in more])
    windows = dataset.load_windows(
        dataset.open_shards(output, config), config, "train", 100
    )[0]
    assert windows.shape == (len(decoded), 16, 32) and np.ptp(windows) > 1


@pytest.mark.parametrize(
    ("flags", "size"),
    [
        (["window.frames=32", "window.stride_frames=32"], 32 * 32),
        (
            [
                "window.frames=1",
                "window.stride_frames=1",
                "model.num_downsamples=0",
            ],
            32,
        ),
    ],
)
def test_the_config_decides_the_windows(recordings, tmp_path, flags, size):
    output = tmp_path / "out"
    more = [f"--set={flag}" for flag in [*flags, "audio.label_regex=7"]]
    assert preprocess_tiny(recordings, output, *more) == 0
    assert {r["window"].size for r in read(output, "train")} == {size}


def test_unusable_recordings_do_not_change_the_others(
    recordings, tmp_path, shards
):
    source = tmp_path / "source"
    source.mkdir()
    for path in recordings.iterdir():
        (source / path.name).symlink_to(path)
    (source / "text.wav").write_text("no sound")
    whole = (source / "3_adam_0.wav").read_bytes()
    (source / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (source / "9_dora_9.flac").write_bytes(b"fLaC")
    output = tmp_path / "out"
    assert preprocess_tiny(source, output) == 0
    assert dead_letters(output) == {
        "text.wav": "not audio",
        "cut.wav": "truncated",
        "9_dora_9.flac": "undecodable",
    }
    assert manifest_of(output)["windows"] == manifest_of(shards)["windows"]


def test_every_kind_of_unusable_file_is_a_dead_letter(recordings, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    wav = (recordings / "3_adam_0.wav").read_bytes()
    (source / "good.wav").write_bytes(wav)
    (source / "link.wav").symlink_to(source / "good.wav")
    (source / "empty.wav").touch()
    (source / "directory.wav").mkdir()
    os.mkfifo(source / "fifo.wav")
    (source / "loop.wav").symlink_to("loop.wav")
    (source / "up").symlink_to(source)
    for name, samples, rate, subtype in (
        ("zeros.wav", np.zeros(4000), 8000, None),
        ("constant.wav", np.full(4000, 0.5), 8000, None),
        ("one.wav", [0.5], 8000, None),
        ("short.wav", noise(20), 8000, None),
        ("nan.wav", [0.5, np.nan, 0.1], 8000, "FLOAT"),
        ("slow.wav", noise(4000), 1, None),
        ("fast.wav", noise(4000), 10_000_000, None),
    ):
        soundfile.write(source / name, samples, rate, subtype)
    output = tmp_path / "out"
    more = ["--max_bad_fraction=1", "--set=split.eval_fraction=0"]
    assert preprocess_tiny(source, output, *more) == 0
    assert dead_letters(output) == {
        "empty.wav": "empty",
        "directory.wav": "not a regular file",
        "fifo.wav": "not a regular file",
        "loop.wav": "unreadable",
        "zeros.wav": "silent",
        "constant.wav": "silent",
        "one.wav": "silent",
        "short.wav": "short",
        "nan.wav": "not finite",
        "slow.wav": "rate",
        "fast.wav": "rate",
    }
    manifest = manifest_of(output)
    assert (manifest["duplicates"], manifest["dead_letters"]) == (1, 11)
    names = {record["recording_id"] for record in read(output, "train")}
    assert names == {b"good.wav"}


def test_names_of_any_kind(recordings, tmp_path):
    source = tmp_path / "so urce"
    names = ["a b.wav", "new\nline.wav", "x" * 251 + ".wav", "日本.wav"]
    good = [*map(os.fsencode, names), b"caf\xe9.wav"]
    source.mkdir()
    wav = (recordings / "3_adam_0.wav").read_bytes()
    for number, name in enumerate([*good, b"bad\xe9.wav"]):
        path = os.path.join(os.fsencode(source), name)
        with open(path, "wb") as file:
            # Each has a last sample of its own, so that it is no copy.
            samples = wav[:-1] + bytes([number])
            file.write(samples if name in good else b"x")
    output = tmp_path / "out"
    more = ["--max_bad_fraction=0.5", "--set=split.eval_fraction=0"]
    assert preprocess_tiny(source, output, *more) == 0
    ids = {record["recording_id"] for record in read(output, "train")}
    assert ids == set(good)
    assert [os.fsencode(path) for path in dead_letters(output)] == [
        b"bad\xe9.wav"
    ]


def test_too_many_unusable_recordings_fail_with_their_names(tmp_path, capsys):
    soundfile.write(tmp_path / "good.wav", noise(2000), 8000)
    (tmp_path / "bad.wav").write_text("no sound")
    output = tmp_path / "out" / "x"
    # By any name of the runner, and without a traceback.
    assert preprocess_tiny(tmp_path, output, "--runner=direct") == 1
    error = capsys.readouterr().err
    assert "1 of 2 recordings are unusable" in error
    assert "bad.wav: not audio" in error and "Traceback" not in error
    assert not list(output.parent.iterdir())


def test_a_data_set_without_training_windows_is_refused(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", noise(2000), 8000)
    more = ["--set=split.by=regex", "--set=split.eval_regex=a"]
    assert preprocess_tiny(tmp_path, tmp_path / "out", *more) == 1
    assert "no training window is left" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_data_set_is_replaced_only_on_request(
    recordings, shards_copy, tmp_path, capsys
):
    before, old = digests(shards_copy), manifest_of(shards_copy)
    assert preprocess_tiny(recordings, shards_copy) == 1
    assert "exists; use --overwrite" in capsys.readouterr().err
    # A job that fails leaves the old data set as it was.
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "bad.wav").write_text("no sound")
    assert preprocess_tiny(tmp_path / "source", shards_copy, "--overwrite") == 1
    assert digests(shards_copy) == before
    more = ["--overwrite", "--set=window.stride_frames=8"]
    assert preprocess_tiny(recordings, shards_copy, *more) == 0
    new = manifest_of(shards_copy)
    assert new["windows"]["train"] > 1.5 * old["windows"]["train"]
    assert not list(shards_copy.parent.glob(".*"))


def test_a_directory_with_other_files_is_never_replaced(
    recordings, tmp_path, capsys
):
    (tmp_path / "thesis.tex").touch()
    assert preprocess_tiny(recordings, tmp_path, "--overwrite") == 1
    assert "(no manifest.json)" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_link_to_another_disk_stays_a_link(recordings, tmp_path):
    disk, output = tmp_path / "disk", tmp_path / "shards"
    output.symlink_to(disk)
    for more in ([], ["--overwrite"]):
        assert preprocess_tiny(recordings, output, *more) == 0
        assert output.is_symlink() and (disk / "manifest.json").is_file()
        names = {p.name for p in tmp_path.iterdir()}
        assert names == {"disk", "shards"}


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--source=nowhere"], 1, "source nowhere does not exist"),
        (["--sourze=x"], 2, "unknown argument --sourze; did you mean --source"),
        (["--nonsense=x"], 2, "unknown argument --nonsense; see --help"),
        (["--runner=NoRunner"], 2, "--runner NoRunner"),
        (["--config=digits9k"], 2, "'digits9k'"),
        (["--set=stft.hop=3"], 2, "unknown key stft.hop"),
        (["--max_bad_fraction=nan"], 2, "_fraction is nan; expected 0 to 1"),
        (["--max_bad_fraction=-1"], 2, "_fraction is -1.0; expected 0 to 1"),
        (["--direct_num_workers=abc"], 2, "--direct_num_workers: invalid int"),
        (["--output=s3://bucket"], 2, "a whole bucket; expected a directory"),
        (["--output=/", "--overwrite"], 2, "a whole disk; expected a dire"),
        (
            ["--source=s3://a/b", "--set=audio.decoder=tfio"],
            2,
            "audio.decoder is tfio, which cannot read remote files",
        ),
    ],
)
def test_bad_usage_is_one_line_and_an_exit_code(
    recordings, tmp_path, capsys, flags, code, message
):
    assert preprocess_tiny(recordings, tmp_path / "x", *flags) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1 and error.startswith("error: ")


def test_the_help_has_an_example(capsys):
    with pytest.raises(SystemExit) as end:
        preprocess.main(["--help"])
    assert end.value.code == 0
    assert preprocess.EXAMPLE in capsys.readouterr().out


def words(count, peak_db, noise_db=-80):
    """2 s of noise with `count` words of 120 ms."""
    rng = np.random.default_rng(count)
    samples = rng.uniform(-1, 1, 16_000) * 10 ** (noise_db / 20)
    for start in np.arange(count) * 4000 + 2000:
        word = rng.uniform(-1, 1, 960)
        samples[start : start + 960] = word * 10 ** (peak_db / 20)
    return samples


def test_windows_on_the_speech_of_recordings(tmp_path, tiny):
    source, output = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for name, samples in {
        "one.wav": words(1, -3),
        "three.wav": 0.2 + words(3, -23, -60),
        "quiet.wav": words(1, -70, -120),
        "none.wav": words(0, 0, -30),
    }.items():
        soundfile.write(source / name, samples, 8000, "FLOAT")
    more = ["window.place=speech", "window.tail=crop", "split.eval_fraction=0"]
    sets = [f"--set={value}" for value in more]
    assert preprocess_tiny(source, output, *sets, "--max_bad_fraction=1") == 0
    assert dead_letters(output) == {"none.wav": "no speech"}
    manifest, train = manifest_of(output), read(output, "train")
    indices = {}
    for record in train:
        name = record["recording_id"].decode()
        indices.setdefault(name, []).append(record["window_index"])
    # 120 ms of sound, and what is added at its ends, have 3 windows of 68 ms.
    counts = {name: len(values) for name, values in indices.items()}
    assert counts == {"one.wav": 3, "three.wav": 9, "quiet.wav": 3}
    assert all(v == list(range(len(v))) for v in indices.values())
    # From peaks of -3, -23 and -70 dB to -3 dB.
    gain = manifest["gain_db"]
    assert gain == {"min": 0.0, "median": 20.0, "max": 60.0, "limited": 1}
    text = preprocess.summary(manifest, 1.0)
    assert "limited the gain of very quiet recordings to 60 dB: 1" in text
    # Each stretch covers two strides and a window, without a gap.
    secs = 5 * (2 * tiny.stride_samples + 16 * 32) / 8000
    assert manifest["hours"]["train"] == pytest.approx(secs / 3600)
    assert manifest["silent_windows"] == 0
    frames = np.float64([r["window"] for r in train])
    frames = frames.reshape(-1, tiny.stft.bins)
    assert manifest["moments"]["frames"] == len(frames)
    np.testing.assert_allclose(manifest["moments"]["mean"], frames.mean(0))


def test_the_summary(shards):
    manifest = {
        **manifest_of(shards),
        "windows": {"train": 7, "eval": 0},
        "hours": {"train": 1.5, "eval": 0},
        "duplicates": 2,
        "duplicate_example": ["b.wav", "a.wav"],
        "duplicates_with_other_label": 1,
        "left_out": {".m4a": 2, "hidden": 1},
        "notes": {"data size of a stream": 3},
    }
    text = preprocess.summary(manifest, 3.0)
    assert "60 recordings (0 unusable), 1.50 hours of windows, in 3.0 s" in text
    assert "7 training windows, 0 evaluation windows" in text
    assert "60 of 60 names give a label (10: 0, 1, 2, ...); 60 give a" in text
    assert "give a speaker (2: adam, dora)" in text
    assert "2 of 2 speakers are in both splits" in text
    assert (
        "skipped 2 duplicates, such as 'b.wav', which has the same content as "
        "'a.wav'; 1 of them with another label than the one kept"
    ) in text
    assert "left out 3 files: 2 .m4a, 1 hidden" in text
    assert "notes: 3 data size of a stream" in text
    assert "the evaluation split is empty" in text
