import os

import numpy as np
import pytest

from pipeline.audio import reading
from pipeline.audio.containers import formats, inspection
from pipeline.audio.errors import AudioError
from stftgan_tf.config import AudioConfig
from tests.conftest import noise
from tests.pipeline.audio.sounds import RATE, write

CONFIG = AudioConfig(sample_rate_hz=RATE)


def write_half(path, **kwargs):
    """The first half of a sound file."""
    write(path, samples=noise(10 * RATE), **kwargs)
    os.truncate(path, path.stat().st_size // 2)


def write_with_header(path, position, new):
    """A WAV with 1000 bytes of data and different bytes in its header."""
    write(path, samples=noise(500))
    data = bytearray(path.read_bytes())
    data[position : position + len(new)] = new
    path.write_bytes(data)


def bytes_of(number):
    return number.to_bytes(4, "little")


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("a.wav", lambda p: p.write_bytes(b""), "empty: no bytes"),
        ("a.wav", write_half, "truncated: 79978 of 160000"),
        ("a.flac", write_half, "truncated|undecodable"),
        ("a.mp3", write_half, "truncated"),
        ("a.ogg", write_half, "truncated"),
        ("a.opus", write_half, "truncated"),
        ("a.aiff", write_half, "truncated"),
        ("a.au", write_half, "truncated"),
        ("a.w64", write_half, "truncated"),
        ("a.caf", write_half, "truncated"),
        ("a.wav", lambda p: write_half(p, format="RF64"), "truncated: 799"),
        ("a.wav", lambda p: write_half(p, endian="BIG"), "truncated: 799"),
        ("a.wav", lambda p: write_half(p, format="NIST"), "truncated: 794"),
        ("a.w64", lambda p: p.write_bytes(b"riff\x2e\x91"), "truncated"),
        ("a.au", lambda p: p.write_bytes(b".snd\0\0"), "truncated"),
        (
            "a.wav",
            lambda p: write_with_header(p, 40, bytes_of(4_000_000_000)),
            "truncated: 1000 of 4000000000 bytes",
        ),
    ],
)
def test_incomplete_file_is_rejected(tmp_path, name, make, reason):
    path = tmp_path / name
    make(path)
    with pytest.raises(AudioError, match=reason):
        reading.measure(str(path), CONFIG)


@pytest.mark.parametrize(
    "kwargs", [{"format": "RF64"}, {"endian": "BIG"}, {"format": "NIST"}]
)
def test_complete_file_is_accepted(tmp_path, kwargs):
    path = tmp_path / "a.wav"
    write(path, **kwargs)
    with open(path, "rb") as file:
        layout = inspection.inspect(file)
        assert file.tell() == 0
    assert not layout.notes and not layout.streams
    assert reading.measure(str(path), CONFIG)[0].samples == RATE


def test_extensions_that_need_pyav_are_listed_if_it_is_installed(monkeypatch):
    monkeypatch.setattr(formats, "has_av", lambda: True)
    assert {".wav", ".m4a"} <= set(formats.readable_extensions())
    monkeypatch.setattr(formats, "has_av", lambda: False)
    assert formats.readable_extensions() == formats.EXTENSIONS
    assert not set(formats.EXTENSIONS) & set(formats.AV_EXTENSIONS)


@pytest.mark.parametrize("extension", [".au", ".gsm", ".raw", ".snd", ".vox"])
def test_unknown_bytes_are_not_samples(tmp_path, extension):
    """libsndfile would decode some of them by their extension."""
    path = tmp_path / f"a{extension}"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(AudioError, match="undecodable: the format is not"):
        reading.measure(str(path), CONFIG)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html>\n<title>404 Not Found</title>", "a web page"),
        (b"\n<?xml version='1.0'?><Code>AccessDenied</Code>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"PK\3\4\x14\0" + bytes(range(256)), "a ZIP archive"),
        (b"\x1f\x8b\x08\0" + bytes(range(256)), "a gzip archive"),
        (b'{"error": "too many requests"}', "text"),
    ],
)
@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m4a"])
def test_other_content_is_named(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError, match=f"not audio: .*{reason}"):
        reading.measure(str(path), CONFIG)


def test_a_tag_before_a_wav_is_named(tmp_path):
    path = tmp_path / "a.wav"
    write(path)
    path.write_bytes(b"ID3\3\0\0\0\0\0\4" + bytes(4) + path.read_bytes())
    with pytest.raises(AudioError, match="ID3 tag precedes RIFF; remove it"):
        reading.measure(str(path), CONFIG)
