import dataclasses
import os
import signal
import time

import numpy as np
import pytest
import soundfile

from pipeline.audio import reading as audio
from pipeline.audio import worker as decoder
from pipeline.audio.worker import Question
from stftgan_tf.config import AudioConfig
from tests.conftest import noise

RATE = 8000
CONFIG = AudioConfig(sample_rate_hz=RATE)


def scan(path):
    return Question("scan", str(path))


@pytest.fixture
def child():
    child = decoder.Decoder(CONFIG)
    yield child
    child.close()


def test_a_child_tells_what_a_scan_tells(tmp_path, child):
    path = os.fsencode(tmp_path) + b"/caf\xe9 \n.wav"
    with open(path, "wb") as file:
        soundfile.write(file, noise(RATE), RATE, format="WAV")
    path = os.fsdecode(path)
    assert child.answer(scan(path)) == audio.scan(path, CONFIG)
    with pytest.raises(audio.AudioError, match="missing: no such file"):
        child.answer(scan(tmp_path / "gone.wav"))
    # The same child goes on after an error.
    assert child.answer(scan(path)) == audio.scan(path, CONFIG)


def test_a_decoder_that_crashes_costs_its_recording_only(tmp_path, child):
    good = tmp_path / "a.wav"
    soundfile.write(good, noise(RATE), RATE)
    found = child.answer(scan(good))
    # What a fault in a decoder does to its process.
    os.kill(child._child.process.pid, signal.SIGSEGV)
    with pytest.raises(
        audio.AudioError, match="decoder crashed .exit code -11"
    ):
        child.answer(scan(good))
    assert child.answer(scan(good)) == found


def test_a_decoder_that_hangs_is_given_up(tmp_path, child, monkeypatch):
    good = tmp_path / "a.wav"
    soundfile.write(good, noise(RATE), RATE)
    found = child.answer(scan(good))
    monkeypatch.setattr(decoder, "_PATIENCE_SECS", 0.2)
    os.kill(child._child.process.pid, signal.SIGSTOP)
    with pytest.raises(audio.AudioError, match="did not end within"):
        child.answer(scan(good))
    monkeypatch.undo()
    assert child.answer(scan(good)) == found


def test_answers_come_in_the_order_of_the_questions(tmp_path, child):
    rng = np.random.default_rng(0)
    waves = [np.float32(rng.uniform(-0.5, 0.5, 100 * n)) for n in (9, 1, 5, 3)]
    paths = [str(tmp_path / f"{i}.wav") for i in range(len(waves))]
    for path, wave in zip(paths, waves, strict=True):
        soundfile.write(path, wave, RATE, subtype="FLOAT")
    paths.insert(2, str(tmp_path / "gone.wav"))
    got = list(child.answers(Question("load", path, (0,)) for path in paths))
    assert isinstance(got.pop(2), audio.AudioError)
    for (found, samples), wave in zip(got, waves, strict=True):
        assert found.samples == len(wave)
        np.testing.assert_array_equal(samples, wave)
        # Nobody else's memory.
        samples *= 2


@pytest.fixture
def long(tmp_path):
    """A recording of 17.5 minutes: 33.6 MB as float32."""
    path = tmp_path / "long.wav"
    wave = np.tile(noise(RATE), 1050).astype(np.float32)
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    return path, wave


def test_an_answer_of_any_size(child, long):
    path, wave = long
    _, samples = child.answer(Question("load", str(path), (0,)))
    np.testing.assert_array_equal(samples, wave)


def test_a_crash_costs_no_other_question_that_is_asked(tmp_path, child, long):
    good = tmp_path / "a.wav"
    soundfile.write(good, noise(RATE), RATE)
    questions = [scan(good), scan(long[0]), scan(good), scan(good)]
    answers = child.answers(questions)
    first = next(answers)
    # The long one has been asked, and is at work.
    os.kill(child._child.process.pid, signal.SIGSEGV)
    crashed, *others = answers
    assert "crashed (exit code -11)" in str(crashed)
    assert others == [first, first]


def test_answers_that_nobody_took_are_nobody_elses(tmp_path, child, long):
    good = tmp_path / "a.wav"
    soundfile.write(good, noise(RATE), RATE)
    answers = child.answers([scan(good), scan(long[0])])
    first = next(answers)
    answers.close()
    assert child.answer(scan(good)) == first


def test_a_child_is_left_to_the_next_one(tmp_path, child):
    good = tmp_path / "a.wav"
    soundfile.write(good, noise(RATE), RATE)
    found = child.answer(scan(good))
    pid = child._child.process.pid
    child.release()
    other = decoder.Decoder(dataclasses.replace(CONFIG, channels="first"))
    assert other.answer(scan(good)) == found
    assert other._child.process.pid != pid
    other.close()
    # Closing the one left the other alone.
    assert child.answer(scan(good)) == found
    assert child._child.process.pid == pid


def test_the_child_ends_with_its_worker(tmp_path):
    """Also when that is killed: nobody is left to end it."""
    reading, writing = os.pipe()
    worker = os.fork()
    if worker == 0:
        child = decoder.Decoder(CONFIG)
        with pytest.raises(audio.AudioError):
            child.answer(scan("none.wav"))
        os.write(writing, str(child._child.process.pid).encode())
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
