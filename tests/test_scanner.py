import os
import signal
import time

import pytest
import soundfile

from pipeline import audio, scanner
from stftgan_tf.config import AudioConfig
from tests.conftest import noise

RATE = 8000
CONFIG = AudioConfig(sample_rate_hz=RATE)


@pytest.fixture
def child():
    child = scanner.Scanner(CONFIG)
    yield child
    child.close()


def test_a_child_tells_what_a_scan_tells(tmp_path, child):
    path = os.fsencode(tmp_path) + b"/caf\xe9 \n.wav"
    with open(path, "wb") as file:
        soundfile.write(file, noise(RATE), RATE, format="WAV")
    path = os.fsdecode(path)
    assert child.scan(path) == audio.scan(path, CONFIG)
    with pytest.raises(audio.AudioError, match="missing: no such file"):
        child.scan(str(tmp_path / "gone.wav"))
    # The same child goes on after an error.
    assert child.scan(path) == audio.scan(path, CONFIG)


def test_a_decoder_that_crashes_costs_its_recording_only(tmp_path, child):
    good = tmp_path / "a.wav"
    soundfile.write(good, noise(RATE), RATE)
    found = child.scan(str(good))
    # What a fault in a decoder does to its process.
    os.kill(child._child.pid, signal.SIGSEGV)
    with pytest.raises(
        audio.AudioError, match="decoder crashed .exit code -11"
    ):
        child.scan(str(good))
    assert child.scan(str(good)) == found


def test_a_decoder_that_hangs_is_given_up(tmp_path, child, monkeypatch):
    good = tmp_path / "a.wav"
    soundfile.write(good, noise(RATE), RATE)
    found = child.scan(str(good))
    monkeypatch.setattr(scanner, "_PATIENCE_SECS", 0.2)
    os.kill(child._child.pid, signal.SIGSTOP)
    with pytest.raises(audio.AudioError, match="did not end within"):
        child.scan(str(good))
    monkeypatch.undo()
    assert child.scan(str(good)) == found


def test_the_child_ends_with_its_worker(tmp_path):
    """Also when that is killed: nobody is left to end it."""
    reading, writing = os.pipe()
    worker = os.fork()
    if worker == 0:
        child = scanner.Scanner(CONFIG)
        with pytest.raises(audio.AudioError):
            child.scan("none.wav")
        os.write(writing, str(child._child.pid).encode())
        time.sleep(60)
        os._exit(0)
    pid = int(os.read(reading, 20))
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    end = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < end:
        if open(f"/proc/{pid}/stat").read().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        assert not os.path.exists(f"/proc/{pid}")
