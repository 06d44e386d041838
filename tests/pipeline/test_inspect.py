import json

import pytest
from PIL import Image

from pipeline import inspect
from tests.conftest import preprocess_tiny


def run(data, tmp_path):
    return inspect.main([f"--data={data}", f"--output={tmp_path / 'p.png'}"])


def test_an_intact_data_set(shards, tmp_path, capsys):
    assert run(shards, tmp_path) == 0
    out = capsys.readouterr().out
    manifest = json.loads((shards / "manifest.json").read_text())
    assert manifest["config_hash"] in out
    assert f"{manifest['windows']['train']} windows" in out
    assert "all shards and records are intact" in out
    with Image.open(tmp_path / "p.png") as image:
        assert image.width > 1000 and image.height > 600
        assert len(image.convert("L").getcolors()) > 100


def test_a_picture_replaces_an_earlier_one_only(shards, tmp_path, capsys):
    assert run(shards, tmp_path) == 0
    assert run(shards, tmp_path) == 0
    with Image.open(tmp_path / "p.png") as image:
        image.save(tmp_path / "p.png")
    mine = (tmp_path / "p.png").read_bytes()
    assert run(shards, tmp_path) == 1
    assert "was not written by this command" in capsys.readouterr().err
    assert (tmp_path / "p.png").read_bytes() == mine


def test_windows_of_a_single_frame(recordings, tmp_path):
    flags = ["window.frames=1", "window.stride_frames=8"]
    flags.append("model.num_downsamples=0")
    data = tmp_path / "x"
    assert (
        preprocess_tiny(recordings, data, *(f"--set={f}" for f in flags)) == 0
    )
    assert run(data, tmp_path) == 0


def test_damage_is_reported(shards_copy, tmp_path, capsys):
    next(shards_copy.glob("Split-train/*")).unlink()
    assert run(shards_copy, tmp_path) == 1
    error = capsys.readouterr().err
    assert "cannot be read: No such file" in error
    assert "is damaged (1 problems)" in error.splitlines()[-1]


def alter_manifest(directory, change):
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "manifest.json").unlink(), "is not a data set"),
        (lambda d: (d / "manifest.json").write_text("{"), "is not JSON"),
        (
            lambda d: (d / "manifest.json").write_text(
                '{"format_version": 1, "config": {}, "labels": []}'
            ),
            "is damaged: clipped_share is missing",
        ),
        (
            lambda d: alter_manifest(d, lambda m: m["moments"].pop("std")),
            "is damaged: moments is missing",
        ),
        (
            lambda d: alter_manifest(d, lambda m: m.pop("hours")),
            "is damaged: hours is missing",
        ),
        (
            lambda d: alter_manifest(d, lambda m: m.update(format_version=9)),
            "has format version 9; expected 1",
        ),
    ],
)
def test_a_manifest_that_cannot_be_used(
    shards_copy, tmp_path, capsys, damage, message
):
    damage(shards_copy)
    assert run(shards_copy, tmp_path) == 1
    assert message in capsys.readouterr().err
