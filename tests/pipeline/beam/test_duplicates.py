"""Which recordings count as copies of each other."""

import dataclasses
import os

import pytest

from pipeline.beam import duplicates
from tests.conftest import noise
from tests.pipeline.audio.sounds import write
from tests.pipeline.beam.cutting import recording


def test_equal_files_have_the_same_key(tmp_path):
    one, two = recording(tmp_path / "1.wav"), recording(tmp_path / "2.wav")
    for path in (one.path, two.path):
        write(path, samples=noise(2000))
    assert duplicates.content_key(one) == duplicates.content_key(two)
    excerpt = dataclasses.replace(one, start_secs=0.1)
    assert duplicates.content_key(one) != duplicates.content_key(excerpt)


def test_what_cannot_be_read_has_a_key_of_its_own(tmp_path):
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "fifo2.wav").mkdir()
    paths = [tmp_path / name for name in ("fifo.wav", "fifo2.wav", "x", "y")]
    keys = {duplicates.content_key(recording(path)) for path in paths}
    assert len(keys) == 4


@pytest.mark.parametrize("names", [["b", "a", "c"], ["c", "b", "a"]])
def test_the_first_by_name_is_used(tmp_path, names):
    for name in names:
        (tmp_path / name).write_bytes(b"same")
    recordings = [recording(tmp_path / name) for name in names]
    first, *others = duplicates.distinct(recordings)
    assert first.id == str(tmp_path / "a")
    assert [(d.id, d.first) for d in others] == [
        (str(tmp_path / name), first.id) for name in "bc"
    ]


def test_files_that_agree_only_at_their_ends_are_both_used(tmp_path):
    ends = bytes(1 << 17)
    for name in "ab":
        (tmp_path / name).write_bytes(ends + name.encode() + ends)
    one, two = (recording(tmp_path / name) for name in "ab")
    assert duplicates.content_key(one) == duplicates.content_key(two)
    assert list(duplicates.distinct([one, two])) == [one, two]
