import json
import re
import shutil

import pytest
import tensorflow as tf

from pipeline import inspect
from tests.conftest import preprocess_tiny, run_command


def test_a_data_set_that_is_whole(shards, tmp_path):
    picture = tmp_path / "p.png"
    done = run_command("pipeline.inspect", shards, "--picture", picture)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((shards / "manifest.json").read_text())
    assert manifest["config_hash"] in done.stdout
    assert f"{manifest['windows']['train']} windows" in done.stdout
    assert "every checksum and every record is right" in done.stdout
    image = tf.io.decode_png(picture.read_bytes())
    assert image.shape[0] > 600 and image.shape[1] > 1000
    assert len(set(image.numpy().ravel().tolist())) > 100


def test_windows_of_one_frame(recordings, tmp_path):
    more = ["--set=window.frames=1", "--set=window.stride_frames=8"]
    more.append("--set=model.num_downsamples=0")
    assert preprocess_tiny(recordings, tmp_path / "x", *more) == 0
    picture = f"--picture={tmp_path / 'p.png'}"
    assert inspect.main([str(tmp_path / "x"), picture]) == 0


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def alter_manifest(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def shard(folder):
    return next((folder / "Split-train").glob("*-00001-of-*"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: flip(shard(d), 3), "record 0: its length is damaged"),
        (lambda d: flip(shard(d), 200), "record 0: its checksum is wrong"),
        (lambda d: shard(d).unlink(), "cannot be read: No such file"),
        (
            lambda d: shard(d).write_bytes(shard(d).read_bytes()[:-7]),
            "the file ends within it",
        ),
        (
            lambda d: shard(d).write_bytes(
                next((d / "Split-train").glob("*-00000-of-*")).read_bytes()
            ),
            "its checksum is not the manifest's|bytes; expected",
        ),
        (
            lambda d: shutil.copy(shard(d), shard(d).with_name("more")),
            "Split-train/more is not in the manifest",
        ),
        (
            lambda d: (d / "schema.pbtxt").write_text("?"),
            "schema.pbtxt cannot be read",
        ),
        (lambda d: (d / "stats.json").unlink(), "stats.json cannot be read"),
        (
            lambda d: alter_manifest(
                d, lambda m: m["moments"]["std"].__setitem__(3, 9.0)
            ),
            "the moments' std is not that of the training windows",
        ),
        (
            lambda d: alter_manifest(d, lambda m: m["windows"].update(train=1)),
            "train windows; expected 1",
        ),
        (
            lambda d: alter_manifest(
                d, lambda m: m["config"]["stft"].update(frame_length=128)
            ),
            "record 0: 512 values; expected .16, 64.",
        ),
        (
            lambda d: alter_manifest(d, lambda m: m.update(labels=["0"])),
            "label . of 1",
        ),
    ],
)
def test_what_is_wrong_is_told(shards_copy, tmp_path, capsys, damage, message):
    damage(shards_copy)
    args = [str(shards_copy), f"--picture={tmp_path / 'p.png'}"]
    assert inspect.main(args) == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert "is damaged" in error.splitlines()[-1]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "manifest.json").unlink(), "holds no data set"),
        (lambda d: (d / "manifest.json").write_text("{"), "is no JSON"),
        (
            lambda d: (d / "manifest.json").write_text(
                '{"format_version": 1, "config": {}, "labels": []}'
            ),
            "has no clipped_share that can be read: it is damaged",
        ),
        (
            lambda d: alter_manifest(d, lambda m: m["moments"].pop("std")),
            "has no moments that can be read: it is damaged",
        ),
        (
            lambda d: alter_manifest(d, lambda m: m.pop("hours")),
            "has no hours that can be read: it is damaged",
        ),
        (
            lambda d: alter_manifest(d, lambda m: m.update(format_version=9)),
            "has format version 9; expected 1",
        ),
    ],
)
def test_what_is_no_data_set(shards_copy, capsys, damage, message):
    damage(shards_copy)
    assert inspect.main([str(shards_copy)]) == 1
    assert message in capsys.readouterr().err
