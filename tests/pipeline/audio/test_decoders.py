import contextlib
import dataclasses
import io
import json
import os

import numpy as np
import pytest

from pipeline import storage
from pipeline.audio import containers, decoders, reading
from pipeline.audio.errors import AudioError
from stftgan_tf.config import AudioConfig
from tests.conftest import SPEECH, needs_speech, needs_tfio, noise
from tests.pipeline.audio.sounds import RATE, write

CONFIG = AudioConfig(sample_rate_hz=RATE)


def write_without_channels(path):
    write(path)
    data = bytearray(path.read_bytes())
    data[22:24] = bytes(2)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: p.write_text("no sound"), "undecodable"),
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
        with decoders.open_recording(str(path), CONFIG):
            pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_file_without_read_permission(tmp_path):
    path = tmp_path / "a.wav"
    write(path)
    path.chmod(0)
    with pytest.raises(AudioError, match="unreadable: Permission"):
        with decoders.open_recording(str(path), CONFIG):
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
    decoders.check_decoder(tfio_config)
    suffixes = set()
    for path in sorted((SPEECH / "mixed").iterdir()):
        if path.suffix not in containers.EXTENSIONS:
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


@needs_speech
def test_every_file_of_the_mixed_set_has_its_length():
    facts = json.loads((SPEECH / "mixed" / "mixed.json").read_text())
    assert len(facts) == 15
    for name, fact in facts.items():
        (stats,) = reading.measure(str(SPEECH / "mixed" / name), CONFIG)
        secs = stats.samples / RATE
        assert secs == pytest.approx(fact["seconds"], abs=0.06), name
