"""Damaged files of every container: each is decoded or a dead letter."""

import collections

import numpy as np
import pytest
import soundfile

from pipeline.audio import reading
from pipeline.audio.decoder_process import DecoderProcess, Request
from pipeline.audio.errors import AudioError
from stftgan_tf.config import AudioConfig
from tests.conftest import CASES, noise
from tests.pipeline.audio.sounds import HAS_AV, RATE, encode, encode_with_av

# Enough for each file; a decoder that takes longer hangs.
TIMEOUT_SECS = 20.0

# The most samples that a byte of a file can hold: the smallest frames of MPEG
# audio have 576 samples in 24 bytes, NMS ADPCM has 4 samples a byte. A frame
# of the other codecs may hold silence in a few bytes.
MAX_SAMPLES_PER_BYTE = collections.defaultdict(lambda: 8, {"mp3": 24})
CODECS_WITH_SILENCE = ("flac", "ogg", "caf", "av")


def sound_files():
    """Sound files of every format, (kind, suffix, bytes)."""
    # Of SD2, libsndfile writes a resource fork into the working directory.
    for kind in sorted({*soundfile.available_formats()} - {"SD2"}):
        for subtype in soundfile.available_subtypes(kind):
            rate = 16000 if subtype in ("VORBIS", "OPUS") else RATE
            try:
                data = encode(noise(2000), kind, subtype, rate)
            except soundfile.LibsndfileError:
                continue
            yield kind.lower(), f".{kind.lower()}", data
    if HAS_AV:
        for suffix, codec in AV_CODECS:
            data = encode_with_av(noise(4000), suffix, codec)
            yield "av", suffix, data
    for path in sorted(CASES.glob("other_extensions/*.w*m*")):
        yield "av", path.suffix, path.read_bytes()


AV_CODECS = [
    (".m4a", "aac"),
    (".m4a", "alac"),
    (".aac", "aac"),
    (".webm", "libopus"),
    (".mka", "aac"),
    (".3gp", "libopencore_amrnb"),
    (".mov", "pcm_s16le"),
    (".wv", "wavpack"),
    (".tta", "tta"),
]


def damage(data, rng):
    """A copy of a file with some bytes changed, cut or added."""
    data = bytearray(data)
    # Headers matter most.
    end = min(len(data), int(rng.choice([64, 256, len(data)])))
    action = rng.integers(6)
    position = int(rng.integers(end))
    if action == 0:
        return data[: int(rng.integers(len(data)))]
    if action == 1:
        return data + rng.bytes(int(rng.integers(1, 2000)))
    if action == 2:
        return data + data
    if action == 3:
        return data[:position] + rng.bytes(4) + data[position:]
    for _ in range(int(rng.integers(1, 5))):
        position = int(rng.integers(end))
        bit = 1 << int(rng.integers(8))
        new = bit ^ data[position] if action == 4 else int(rng.choice([0, 255]))
        data[position] = new
    return data


def fuzz(directory, inputs, seed):
    """Decodes damaged files; returns the number of files that gave audio."""
    rng = np.random.default_rng(seed)
    files = list(sound_files())
    process = DecoderProcess(AudioConfig(sample_rate_hz=RATE), TIMEOUT_SECS)
    names = {}
    for index in range(inputs):
        kind, suffix, data = files[index % len(files)]
        path = directory / f"{index}{suffix}"
        path.write_bytes(damage(data, rng))
        names[str(path)] = kind, path.stat().st_size
    requests = [Request(reading.measure, name) for name in names]
    decoded = 0
    for name, result in zip(names, process.run_all(requests), strict=True):
        kind, size = names[name]
        if isinstance(result, AudioError):
            assert "the decoder" not in str(result), (name, result)
            continue
        decoded += 1
        if kind not in CODECS_WITH_SILENCE:
            limit = MAX_SAMPLES_PER_BYTE[kind] * size
            assert result[0].source_frames <= limit, name
    process.close()
    return decoded


def test_damaged_files_are_decoded_or_dead_letters(tmp_path, capfd):
    inputs = 500
    assert inputs / 10 < fuzz(tmp_path, inputs, seed=0) < inputs
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 10))
def test_many_damaged_files(tmp_path, capfd, seed):
    inputs = 500
    assert inputs / 10 < fuzz(tmp_path, inputs, seed) < inputs
    assert "Traceback" not in capfd.readouterr().err
