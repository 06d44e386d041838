import contextlib
import dataclasses
import io
import json
import os
import re

import numpy as np
import pytest
import soundfile

from pipeline.audio import reading as audio
from stftgan_tf.config import AudioConfig
from tests.conftest import SPEECH, needs_speech, needs_tfio, noise

RATE = 8000


@pytest.fixture
def config():
    return AudioConfig(sample_rate_hz=RATE)


def sine(rate, secs=1.0, hz=440.0, amplitude=0.5):
    return amplitude * np.sin(
        2 * np.pi * hz * np.arange(int(rate * secs)) / rate
    )


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype"),
    [
        ("a.wav", 8000, 1, "PCM_16"),
        ("a.wav", 11025, 2, "PCM_U8"),
        ("a.wav", 48000, 6, "PCM_24"),
        ("a.wav", 44100, 8, "PCM_32"),
        ("a.wav", 96000, 1, "FLOAT"),
        ("a.wav", 192000, 2, "DOUBLE"),
        ("a.wav", 16000, 1, "ULAW"),
        ("a.flac", 44100, 2, "PCM_24"),
        ("a.flac", 96000, 8, "PCM_16"),
        ("a.aiff", 22050, 1, "PCM_16"),
        ("a.ogg", 22050, 1, "VORBIS"),
        ("a.opus", 48000, 2, "OPUS"),
        ("a.mp3", 32000, 2, "MPEG_LAYER_III"),
        ("a.au", 8000, 1, "PCM_16"),
        ("a.caf", 44100, 2, "PCM_16"),
        ("a.w64", 16000, 1, "PCM_16"),
    ],
)
def test_any_rate_and_channel_count(
    tmp_path, config, name, rate, channels, subtype
):
    path = str(tmp_path / name)
    wave = np.repeat(sine(rate)[:, None], channels, axis=1)
    # libsndfile writes more than two channels as extensible.
    kind = {".wav": "WAVEX"} if channels > 2 else {"opus": "OGG"}
    soundfile.write(
        path, wave, rate, subtype=subtype, format=kind.get(path[-4:])
    )
    (found,) = audio.scan(path, config)
    assert found.samples == pytest.approx(RATE, abs=1)
    # What is lossy overshoots.
    lossless = subtype.startswith(("PCM", "FLOAT", "DOUBLE", "ULAW"))
    assert found.peak == pytest.approx(0.5, abs=0.02 if lossless else 0.12)
    assert found.rms == pytest.approx(0.5 / np.sqrt(2), abs=0.02)
    got = audio.read(path, config, 0, found.samples)
    # Away from the ends the resampled sine is the sine of the target rate.
    np.testing.assert_allclose(got[500:-500], sine(RATE)[500:-500], atol=0.02)


def test_channels_are_mixed_or_the_first_is_taken(tmp_path, config):
    path = str(tmp_path / "a.wav")
    soundfile.write(path, np.tile([0.5, -0.25], (RATE, 1)), RATE)
    first = AudioConfig(sample_rate_hz=RATE, channels="first")
    assert audio.read(path, config, 10, 11)[0] == pytest.approx(0.125, abs=1e-3)
    assert audio.read(path, first, 10, 11)[0] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_segment_is_what_the_whole_recording_has_there(
    tmp_path, config, rate
):
    path = str(tmp_path / "long.wav")
    rng = np.random.default_rng(0)
    soundfile.write(
        path, rng.uniform(-0.5, 0.5, 20 * rate), rate, subtype="FLOAT"
    )
    whole = audio.read(path, config, 0, 20 * RATE)
    part = audio.read(path, config, 7 * RATE + 11, 9 * RATE + 5)
    np.testing.assert_allclose(
        part, whole[7 * RATE + 11 : 9 * RATE + 5], atol=1e-4
    )


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3", "a.opus"])
def test_seeking_in_coded_audio_is_exact(tmp_path, config, name):
    path = tmp_path / name
    tones = [sine(16000, 8.0, hz, 0.1) for hz in (200, 437, 1031, 2903)]
    write(path, 16000, sum(tones) * (1 + 0.5 * sine(16000, 8.0, 3.7)))
    (found,) = audio.scan(str(path), config)
    whole = audio.read(str(path), config, 0, found.samples)
    part = audio.read(str(path), config, 5 * RATE + 11, 7 * RATE + 5)
    # A whole frame off would be wrong by as much as there is; Opus starts to
    # decode a little before and has not quite settled.
    np.testing.assert_allclose(
        part, whole[5 * RATE + 11 : 7 * RATE + 5], atol=2e-3
    )


def test_outside_of_the_recording_there_are_zeros(tmp_path, config):
    path = str(tmp_path / "a.wav")
    soundfile.write(path, np.full(100, 0.5), RATE)
    got = audio.read(path, config, -10, 120)
    assert not got[:10].any() and not got[110:].any()
    np.testing.assert_allclose(got[10:110], 0.5, atol=1e-4)


@pytest.mark.parametrize(
    ("level", "peak_db", "rms_db"),
    [("peak", -3.0, -6.01), ("rms", 0.01, -3.0), ("none", -6.02, -9.03)],
)
def test_one_gain_brings_a_sine_to_its_level(tmp_path, level, peak_db, rms_db):
    config = AudioConfig(sample_rate_hz=RATE, level=level, level_db=-3.0)
    path = str(tmp_path / "a.wav")
    soundfile.write(path, sine(RATE), RATE, subtype="FLOAT")
    (found,) = audio.scan(path, config)
    gain_db = 20 * np.log10(audio.gain(found, config))
    assert 20 * np.log10(found.peak) + gain_db == pytest.approx(
        peak_db, abs=0.02
    )
    assert 20 * np.log10(found.rms) + gain_db == pytest.approx(rms_db, abs=0.02)


def write(path, rate=RATE, samples=None, **more):
    path = str(path)
    more.setdefault("format", "OGG" if path.endswith("opus") else None)
    soundfile.write(
        path, noise(RATE) if samples is None else samples, rate, **more
    )


def write_cut(path, **more):
    """A sound file of which only a half is there."""
    write(path, samples=noise(10 * RATE), **more)
    os.truncate(path, path.stat().st_size // 2)


def write_endless_flac(path):
    """As an encoder leaves it that writes into a pipe."""
    write(path)
    data = bytearray(path.read_bytes())
    # The last 36 bits of STREAMINFO before its MD5 (RFC 9639, section 8.2).
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)


def write_chained_ogg(path):
    """Two streams, one after the other (RFC 3533, section 4)."""
    halves = []
    for _ in range(2):
        write(path)
        halves.append(path.read_bytes())
    assert halves[0] != halves[1]
    path.write_bytes(b"".join(halves))


def write_altered(path, at, new):
    """A WAV of 1000 bytes of data with other bytes in its header."""
    write(path, samples=noise(500))
    data = bytearray(path.read_bytes())
    data[at : at + len(new)] = new
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("a.wav", lambda p: p.write_bytes(b""), "empty: no bytes"),
        ("a.wav", lambda p: p.write_text("no sound"), "undecodable"),
        ("a.wav", write_cut, "truncated: 79978 of 160000"),
        ("a.flac", write_cut, "truncated|undecodable"),
        ("a.mp3", write_cut, "truncated"),
        ("a.ogg", write_cut, "truncated"),
        ("a.opus", write_cut, "truncated"),
        ("a.aiff", write_cut, "truncated"),
        ("a.au", write_cut, "truncated"),
        ("a.w64", write_cut, "truncated"),
        ("a.caf", write_cut, "undecodable"),
        ("a.wav", lambda p: write_cut(p, format="RF64"), "truncated: 799"),
        ("a.wav", lambda p: write_cut(p, endian="BIG"), "truncated: 799"),
        ("a.wav", lambda p: write_cut(p, format="NIST"), "truncated: 794"),
        ("a.flac", write_endless_flac, "length: its header does not tell"),
        ("a.ogg", write_chained_ogg, "chained: several Ogg streams"),
        ("a.w64", lambda p: p.write_bytes(b"riff\x2e\x91"), "truncated"),
        ("a.au", lambda p: p.write_bytes(b".snd\0\0"), "truncated"),
        (
            "a.wav",
            lambda p: write_altered(
                p, 40, (4_000_000_000).to_bytes(4, "little")
            ),
            "truncated: 1000 of 4000000000 bytes",
        ),
        ("a.wav", lambda p: write_altered(p, 22, bytes(2)), "Channel count"),
        ("a.wav", lambda p: None, "missing"),
        ("a.wav", lambda p: p.mkdir(), "not a regular file"),
        ("a.wav", os.mkfifo, "not a regular file"),
        ("a.wav", lambda p: p.symlink_to(p), "unreadable: Too many levels"),
        ("a.wav", lambda p: write(p, samples=np.zeros(RATE)), "silent"),
        ("a.wav", lambda p: write(p, samples=np.full(RATE, 0.5)), "constant"),
        ("a.wav", lambda p: write(p, samples=np.zeros(0)), "empty: 0 samples"),
        ("a.wav", lambda p: write(p, samples=[0.5]), "silent|empty"),
        ("a.wav", lambda p: write(p, rate=1), "rate: 1 Hz; expected 1000"),
        ("a.wav", lambda p: write(p, rate=10_000_000), "rate: 10000000 Hz"),
        (
            "a.wav",
            lambda p: write(p, samples=[0.1, np.nan], subtype="FLOAT"),
            "not finite",
        ),
        (
            "a.wav",
            lambda p: write(p, samples=[0.1, np.inf], subtype="FLOAT"),
            "not finite",
        ),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path, config, name, make, reason):
    path = tmp_path / name
    make(path)
    with pytest.raises(audio.AudioError, match=reason):
        audio.scan(str(path), config)


# The second and third are sox', of 16 and of 24 bits.
@pytest.mark.parametrize(
    "size", [0xFFFFFFFF, 0x7FFFF000, 0x7FFFEFFF, 0x80000000]
)
def test_a_streamed_wav_of_unknown_size_is_no_truncated_one(
    tmp_path, config, size
):
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(RATE), RATE)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = data[4:8] = size.to_bytes(4, "little")
    path.write_bytes(data)
    assert audio.scan(str(path), config)[0].samples == RATE


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
@pytest.mark.parametrize("tag", [b"", b"ID3\4\0\0\0\0\1\0" + bytes(128)])
def test_an_mp3_that_does_not_tell_its_length(tmp_path, config, rate, tag):
    """Without the first frame of LAME, which has the length of the rest."""
    path = tmp_path / "a.mp3"
    samples = np.concatenate([noise(rate), np.zeros(rate)])
    for mode, is_known in (("CONSTANT", True), ("VARIABLE", False)):
        soundfile.write(
            path, samples, rate, bitrate_mode=mode, compression_level=0.5
        )
        data = path.read_bytes()
        assert re.search(b"Xing|Info", data[:64])
        _, first = audio._mpeg_frame(data[:4])
        path.write_bytes(tag + data)
        assert audio.scan(str(path), config)[0].samples == 2 * RATE
        path.write_bytes(tag + data[first:])
        if is_known:
            (found,) = audio.scan(str(path), config)
            assert found.samples > 2 * RATE
            whole = audio.load(str(path), config, 0)[1]
            end = (found.samples - 99, found.samples)
            part = audio.read(str(path), config, *end, frames=found.frames)
            np.testing.assert_allclose(part, whole[-99:], atol=1e-3)
            continue
        with pytest.raises(audio.AudioError, match="an MP3 of varying rate"):
            audio.scan(str(path), config)


def test_containers_beyond_riff_are_whole_as_well(tmp_path, config):
    for more in ({"format": "RF64"}, {"endian": "BIG"}, {"format": "NIST"}):
        path = tmp_path / "a.wav"
        write(path, **more)
        assert audio.scan(str(path), config)[0].samples == RATE


def test_a_recording_that_changes_while_it_is_read_is_not_used(
    tmp_path, config
):
    path = tmp_path / "a.wav"
    write(path, samples=noise(3 * RATE))
    (found,) = audio.scan(str(path), config)
    assert found.frames == 3 * RATE
    write(path, samples=noise(2 * RATE))
    with pytest.raises(audio.AudioError, match="changed: 16000 samples; .* 24"):
        audio.read(str(path), config, 0, RATE, 0, found.frames)


class Failing(io.BytesIO):
    """A file whose connection is lost in the middle."""

    def read(self, size=-1):
        if self.tell() > 30000:
            raise OSError("connection lost")
        return super().read(size)


def test_a_remote_file_that_fails_in_the_middle_is_not_silence(
    tmp_path, config, monkeypatch
):
    # libsndfile takes an exception for the end of the file.
    write(tmp_path / "a.wav", samples=noise(10 * RATE))
    data = (tmp_path / "a.wav").read_bytes()
    monkeypatch.setattr(
        audio.storage,
        "open_input",
        lambda _: contextlib.closing(Failing(data)),
    )
    with pytest.raises(audio.AudioError, match="unreadable: connection lost"):
        audio.read("s3://bucket/a.wav", config, 0, 10 * RATE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path, config):
    path = tmp_path / "a.wav"
    write(path)
    path.chmod(0)
    with pytest.raises(audio.AudioError, match="unreadable: Permission"):
        audio.scan(str(path), config)


def test_channels_can_be_recordings_of_their_own(tmp_path):
    config = AudioConfig(sample_rate_hz=RATE, channels="split")
    path = str(tmp_path / "a.wav")
    wave = np.stack([sine(RATE), np.zeros(RATE), sine(RATE, amplitude=0.1)], 1)
    soundfile.write(path, wave, RATE)
    first, silent, last = audio.scan(path, config)
    assert silent is None
    assert (first.peak, last.peak) == pytest.approx((0.5, 0.1), abs=1e-3)
    got = audio.read(path, config, 0, RATE, channel=2)
    np.testing.assert_allclose(got, wave[:, 2], atol=1e-4)


def test_silence_at_the_ends_is_trimmed_where_asked(tmp_path, config):
    path = str(tmp_path / "a.wav")
    quiet = 0.004 * noise(RATE)  # 0.002, or -48 dB of the peak
    wave = np.concatenate([quiet, sine(RATE), quiet, sine(RATE), quiet])
    soundfile.write(path, wave, RATE)
    trimmed = dataclasses.replace(config, trim_db=40.0)
    (found,) = audio.scan(path, trimmed)
    # To 10 ms; what lies between is kept.
    assert found.start == pytest.approx(RATE, abs=80)
    assert found.start + found.samples == pytest.approx(4 * RATE, abs=80)
    deeper = dataclasses.replace(config, trim_db=60.0)
    (found,) = audio.scan(path, deeper)
    assert (found.start, found.samples) == (0, 5 * RATE)


@needs_tfio
@needs_speech
def test_both_decoders_agree_on_real_files(config):
    """What tensorflow-io can read of the mixed set, it reads alike."""
    other = dataclasses.replace(config, decoder="tfio")
    audio.check_decoder(other)
    read = []
    for path in sorted((SPEECH / "mixed").iterdir()):
        if path.suffix not in audio.EXTENSIONS:
            continue
        (ours,) = audio.scan(str(path), config)
        try:
            (theirs,) = audio.scan(str(path), other)
        except audio.AudioError:
            continue
        read.append(path.suffix)
        assert theirs.samples == pytest.approx(ours.samples, abs=800), path
        stop = min(ours.samples, theirs.samples)
        a = audio.read(str(path), config, 0, stop)
        b = audio.read(str(path), other, 0, stop)
        # Lossy decoders differ in rounding (MP3 also in its padding).
        if path.suffix != ".mp3":
            np.testing.assert_allclose(a, b, atol=2e-3, err_msg=str(path))
    assert {".wav", ".flac", ".ogg"} <= set(read)


@needs_speech
def test_every_file_of_the_mixed_set(config):
    facts = json.loads((SPEECH / "mixed" / "mixed.json").read_text())
    assert len(facts) == 15
    for name, fact in facts.items():
        (found,) = audio.scan(str(SPEECH / "mixed" / name), config)
        secs = found.samples / RATE
        assert secs == pytest.approx(fact["seconds"], abs=0.06), name
