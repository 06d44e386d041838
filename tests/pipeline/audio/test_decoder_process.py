import dataclasses
import os
import signal
import time

import numpy as np
import pytest
import soundfile

from pipeline.audio import reading
from pipeline.audio.decoder_process import DecoderProcess, Request
from pipeline.audio.errors import AudioError
from stftgan_tf.config import AudioConfig
from tests.conftest import noise

RATE = 8000
CONFIG = AudioConfig(sample_rate_hz=RATE)


def measure(path):
    return Request(reading.measure, str(path))


@pytest.fixture
def process():
    process = DecoderProcess(CONFIG)
    yield process
    process.close()


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.wav"
    soundfile.write(path, noise(RATE), RATE)
    return path


@pytest.fixture
def long(tmp_path):
    """A recording of 17.5 minutes: 33.6 MB as float32."""
    path = tmp_path / "long.wav"
    wave = np.tile(noise(RATE), 1050).astype(np.float32)
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    return path, wave


def test_the_process_gives_the_same_results_and_errors(tmp_path, process):
    path = os.fsencode(tmp_path) + b"/caf\xe9 \n.wav"
    with open(path, "wb") as file:
        soundfile.write(file, noise(RATE), RATE, format="WAV")
    path = os.fsdecode(path)
    assert process.run(measure(path)) == reading.measure(path, CONFIG)
    with pytest.raises(AudioError, match="missing: no such file"):
        process.run(measure(tmp_path / "gone.wav"))
    # The process continues after an error.
    pid = process.pid
    assert process.run(measure(path)) == reading.measure(path, CONFIG)
    assert process.pid == pid


def test_a_crash_affects_only_its_recording(good, process):
    stats = process.run(measure(good))
    # This is the signal of a memory fault in a decoder.
    os.kill(process.pid, signal.SIGSEGV)
    with pytest.raises(AudioError, match="decoder crashed .exit code -11"):
        process.run(measure(good))
    assert process.run(measure(good)) == stats


def test_a_decoder_that_hangs_is_killed(good, process):
    stats = process.run(measure(good))
    pid = process.pid
    process.release()
    impatient = DecoderProcess(CONFIG, timeout_secs=0.2)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(AudioError, match="did not finish within 0.2 s"):
        impatient.run(measure(good))
    assert impatient.pid is None and not os.path.exists(f"/proc/{pid}")
    assert process.run(measure(good)) == stats


def test_results_have_the_order_of_the_requests(tmp_path, process):
    rng = np.random.default_rng(0)
    waves = [np.float32(rng.uniform(-0.5, 0.5, 100 * n)) for n in (9, 1, 5, 3)]
    paths = [str(tmp_path / f"{i}.wav") for i in range(len(waves))]
    for path, wave in zip(paths, waves, strict=True):
        soundfile.write(path, wave, RATE, subtype="FLOAT")
    paths.insert(2, str(tmp_path / "gone.wav"))
    requests = (Request(reading.load, path, (0,)) for path in paths)
    results = list(process.run_all(requests))
    assert isinstance(results.pop(2), AudioError)
    for (stats, samples), wave in zip(results, waves, strict=True):
        assert stats.samples == len(wave)
        np.testing.assert_array_equal(samples, wave - np.float32(stats.mean))
        # Samples can be changed without changing the other results.
        samples *= 2


def test_a_result_of_any_size(process, long):
    path, wave = long
    stats, samples = process.run(Request(reading.load, str(path), (0,)))
    np.testing.assert_array_equal(samples, wave - np.float32(stats.mean))


def test_requests_after_a_crash_are_sent_again(good, process, long):
    requests = [measure(good), measure(long[0]), measure(good), measure(good)]
    results = process.run_all(requests)
    first = next(results)
    # The process works on the long recording now.
    os.kill(process.pid, signal.SIGSEGV)
    crash, *others = results
    assert "crashed (exit code -11)" in str(crash)
    assert others == [first, first]


def test_unused_results_do_not_reach_the_next_caller(good, process, long):
    results = process.run_all([measure(good), measure(long[0])])
    first = next(results)
    results.close()
    assert process.run(measure(good)) == first


def test_a_released_process_is_used_again_for_the_same_config(good, process):
    stats = process.run(measure(good))
    pid = process.pid
    process.release()
    assert process.pid is None
    other_config = dataclasses.replace(CONFIG, channels="first")
    other = DecoderProcess(other_config)
    assert other.run(measure(good)) == stats
    assert other.pid != pid
    other.close()
    # Closing it has left the idle process of the first config alone.
    assert process.run(measure(good)) == stats
    assert process.pid == pid


def test_the_process_ends_with_its_parent(tmp_path):
    """A killed parent cannot end the process itself."""
    read_fd, write_fd = os.pipe()
    parent = os.fork()
    if parent == 0:
        process = DecoderProcess(CONFIG)
        with pytest.raises(AudioError):
            process.run(measure("none.wav"))
        os.write(write_fd, str(process.pid).encode())
        time.sleep(60)
        os._exit(0)
    pid = int(os.read(read_fd, 20))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    deadline = time.monotonic() + 60
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
