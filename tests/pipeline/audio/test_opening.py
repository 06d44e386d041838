import contextlib
import dataclasses
import io
import json
import os

import numpy as np
import pytest

from pipeline import storage
from pipeline.audio import opening, reading
from pipeline.audio.containers import formats
from pipeline.audio.decoder_process import DecoderProcess, Request
from pipeline.audio.decoders.base import Excerpt
from pipeline.audio.errors import AudioError
from stftgan_tf.config import AudioConfig
from tests.conftest import (
    CASES,
    SPEECH,
    needs_cases,
    needs_speech,
    needs_tfio,
    noise,
)
from tests.pipeline.audio.sounds import RATE, decode, write

CONFIG = AudioConfig(sample_rate_hz=RATE)


def write_without_channels(path):
    write(path)
    data = bytearray(path.read_bytes())
    data[22:24] = bytes(2)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: p.write_text("no sound"), "not audio: text"),
        (write_without_channels, "undecodable: .*Channel count"),
        (lambda p: None, "missing: no such file"),
        (lambda p: p.mkdir(), "not a regular file"),
        (os.mkfifo, "not a regular file"),
        (lambda p: p.symlink_to(p), "unreadable: Too many levels"),
        (lambda p: write(p, rate=1), "rate: 1 Hz; expected 1000"),
        (lambda p: write(p, rate=10_000_000), "rate: 10000000 Hz"),
    ],
)
def test_file_that_is_not_a_recording(tmp_path, make, reason):
    path = tmp_path / "a.wav"
    make(path)
    with pytest.raises(AudioError, match=reason):
        with opening.open_recording(str(path), CONFIG):
            pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_file_without_read_permission(tmp_path):
    path = tmp_path / "a.wav"
    write(path)
    path.chmod(0)
    with pytest.raises(AudioError, match="unreadable: Permission"):
        with opening.open_recording(str(path), CONFIG):
            pass


class LostConnection(io.BytesIO):
    """A file whose reads fail after 30 kB."""

    def read(self, size=-1):
        if self.tell() > 30000:
            raise OSError("connection lost")
        return super().read(size)


def test_remote_read_error_is_not_the_end_of_the_file(tmp_path, monkeypatch):
    # libsndfile takes an exception for the end of the file.
    write(tmp_path / "a.wav", samples=noise(10 * RATE))
    data = (tmp_path / "a.wav").read_bytes()
    monkeypatch.setattr(
        storage,
        "open_input",
        lambda _: contextlib.closing(LostConnection(data)),
    )
    with pytest.raises(AudioError, match="unreadable: connection lost"):
        reading.read("s3://bucket/a.wav", CONFIG, 0, 10 * RATE)


@needs_tfio
@needs_speech
def test_both_decoders_agree():
    """Every file that tensorflow-io can read has the same samples."""
    tfio_config = dataclasses.replace(CONFIG, decoder="tfio")
    opening.check_decoder(tfio_config)
    suffixes = set()
    for path in sorted((SPEECH / "mixed").iterdir()):
        if path.suffix not in formats.EXTENSIONS:
            continue
        (stats,) = reading.measure(str(path), CONFIG)
        try:
            (tfio_stats,) = reading.measure(str(path), tfio_config)
        except AudioError:
            continue
        suffixes.add(path.suffix)
        assert tfio_stats.samples == pytest.approx(stats.samples, abs=800), path
        # Lossy decoders differ in rounding (MP3 also in its padding).
        if path.suffix == ".mp3":
            continue
        stop = min(stats.samples, tfio_stats.samples)
        samples = reading.read(str(path), CONFIG, 0, stop)
        tfio_samples = reading.read(str(path), tfio_config, 0, stop)
        np.testing.assert_allclose(
            tfio_samples, samples, atol=2e-3, err_msg=str(path)
        )
    assert {".wav", ".flac", ".ogg"} <= suffixes


@needs_tfio
def test_tensorflow_io_does_not_read_only_a_part(tmp_path):
    path = str(tmp_path / "a.ogg")
    write(path, 16000, samples=noise(16000))
    data = (tmp_path / "a.ogg").read_bytes()
    (tmp_path / "a.ogg").write_bytes(data + data)
    tfio_config = dataclasses.replace(CONFIG, decoder="tfio")
    (stats,) = reading.measure(path, tfio_config)
    assert stats.samples == 2 * RATE


@needs_speech
def test_every_file_of_the_mixed_set_has_its_length():
    facts = json.loads((SPEECH / "mixed" / "mixed.json").read_text())
    assert len(facts) == 15
    for name, fact in facts.items():
        (stats,) = reading.measure(str(SPEECH / "mixed" / name), CONFIG)
        secs = stats.samples / RATE
        assert secs == pytest.approx(fact["seconds"], abs=0.06), name


# libsndfile decodes these but cannot seek in them.
SEQUENTIAL = [
    ("WAV", "GSM610"),
    ("W64", "GSM610"),
    ("AIFF", "GSM610"),
    ("AU", "G721_32"),
    ("AU", "G723_24"),
    ("AU", "G723_40"),
    ("WAV", "G721_32"),
    ("WAV", "NMS_ADPCM_16"),
    ("WAV", "NMS_ADPCM_32"),
    ("AIFF", "DWVW_16"),
    ("AIFF", "DWVW_24"),
    ("XI", "DPCM_16"),
]


@pytest.mark.parametrize(("kind", "subtype"), SEQUENTIAL)
def test_codecs_in_which_libsndfile_cannot_seek(tmp_path, kind, subtype):
    path = tmp_path / "a"
    write(path, samples=noise(20_000), format=kind, subtype=subtype)
    whole = decode(path).samples
    # A block of the codec may be padded.
    assert 20_000 <= len(whole) <= 20_500
    with opening.open_recording(str(path), CONFIG) as decoder:
        for start, count in ((9000, 500), (9500, 10), (100, 60), (15_000, 9)):
            part = decoder.read(start, count)
            np.testing.assert_array_equal(part, whole[start : start + count])
        assert len(decoder.read(19_990, 10**6)) == len(whole) - 19_990
        assert not len(decoder.read(30_000, 10))


def test_segments_of_a_long_recording_without_seeking(tmp_path):
    path = tmp_path / "a.wav"
    seconds = np.arange(70 * RATE) / RATE
    # The frequency tells the position.
    wave = 0.3 * np.sin(2 * np.pi * (200 + 10 * seconds) * seconds)
    write(path, samples=wave, subtype="GSM610")
    info = reading.probe(str(path), CONFIG, short_secs=60.0)
    assert info.samples == pytest.approx(70 * RATE, abs=320)
    part = reading.read(str(path), CONFIG, 65 * RATE, 66 * RATE)
    expected = wave[65 * RATE : 66 * RATE]
    assert np.corrcoef(part, expected)[0, 1] > 0.95


@needs_cases
@pytest.mark.parametrize(
    ("name", "secs", "tolerance"),
    [
        ("mp3_without_length/cbr_22050_64k_30s.mp3", 30.07, 1152 / 22050),
        ("mp3_without_length/lame_t_tags.mp3", 4.10, 1152 / 16000),
        ("mp3_without_length/n64_id3v2_030000.mp3", 4.10, 1152 / 16000),
        ("codecs/AU_G721_32.au", 4.005, 1e-6),
        ("wav_sizes/early_eof_100_short.wav", 4.0, 1e-6),
        ("wav_sizes/pocket_tts_2e9.wav", 4.0, 1e-6),
        ("wav_sizes/size_ffffffdb.wav", 4.0, 1e-6),
    ],
)
def test_reported_files(name, secs, tolerance):
    decoded = decode(CASES / name)
    actual = len(decoded.samples) / decoded.rate_hz
    assert actual == pytest.approx(secs, abs=tolerance)
    assert bool(decoded.notes) == name.startswith("wav_sizes")
    info = reading.probe(str(CASES / name), CONFIG, short_secs=60.0)
    assert info.notes == decoded.notes


def test_excerpt_is_a_recording_of_its_own(tmp_path):
    path = str(tmp_path / "a.wav")
    write(path, samples=noise(3 * RATE))
    whole = decode(path).samples
    excerpt = Excerpt(path, 0.5, 2.25)
    decoded = decode(excerpt)
    np.testing.assert_array_equal(
        decoded.samples, whole[RATE // 2 : 9 * RATE // 4]
    )
    assert not decoded.notes
    rest = decode(Excerpt(path, 1.0)).samples
    np.testing.assert_array_equal(rest, whole[RATE:])
    (stats,) = reading.measure(excerpt, CONFIG)
    assert (stats.samples, stats.source_frames) == (14_000, 14_000)
    # Ranges outside of the excerpt are not read from the file.
    samples = reading.read(excerpt, CONFIG, -10, 14_010)
    assert not samples[:10].any() and not samples[-10:].any()
    # A time is rounded to a few digits in a manifest.
    assert not decode(Excerpt(path, 2.0, 3.05)).notes
    late = decode(Excerpt(path, 2.0, 9.0))
    assert len(late.samples) == RATE
    assert late.notes == ("excerpt that ends after its file",)


@pytest.mark.parametrize("start", [3.0, 100.0])
def test_excerpt_after_the_end_of_its_file(tmp_path, start):
    path = str(tmp_path / "a.wav")
    write(path, samples=noise(3 * RATE))
    with pytest.raises(AudioError, match="excerpt: starts at .* 3.00 s"):
        decode(Excerpt(path, start, start + 1))


def test_excerpts_in_the_decoder_process(tmp_path):
    path = str(tmp_path / "a.wav")
    write(path, samples=noise(3 * RATE))
    process = DecoderProcess(CONFIG)
    request = Request(reading.measure, path, start_secs=1.0, end_secs=2.5)
    (stats,) = process.run(request)
    assert stats.samples == 1.5 * RATE
    (stats,) = process.run(dataclasses.replace(request, end_secs=None))
    assert stats.samples == 2 * RATE
    process.close()


def test_a_file_that_has_changed_is_examined_again(tmp_path):
    path = tmp_path / "a.wav"
    write(path, samples=noise(3 * RATE))
    assert len(decode(path).samples) == 3 * RATE
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(AudioError, match="truncated"):
        decode(path)
