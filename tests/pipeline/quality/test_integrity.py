import re
import shutil

import pytest

from pipeline.quality import data_set, integrity
from tests.pipeline.test_inspect import alter_manifest


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def shard(directory):
    return next((directory / "Split-train").glob("*-00001-of-*"))


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
            "the SHA-256 differs from the manifest's|bytes; expected",
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
            "the std in the manifest's moments differs from that of the",
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
def test_each_kind_of_damage_is_reported(shards_copy, damage, message):
    damage(shards_copy)
    manifest = data_set.read_manifest(str(shards_copy))
    problems = integrity.Verification(str(shards_copy), manifest).problems()
    assert re.search(message, problems[0]), problems
