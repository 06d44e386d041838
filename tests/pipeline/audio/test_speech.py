import pytest

from pipeline.audio import speech
from tests.pipeline.audio.sounds import powers


def stretches(*parts):
    """Stretches of speech in blocks of (number of blocks, level in dB)."""
    return speech.stretches(powers(*parts)).tolist()


def test_a_word_in_noise():
    # Levels are averages of 3 blocks, and 4 blocks are added at either end.
    (word,) = stretches((100, -60), (50, -20), (150, -60))
    assert word == pytest.approx([96, 154], abs=1)


def test_weak_ends_belong_to_a_word():
    # 10 dB above the noise: enough for an end, not for a word.
    (word,) = stretches((100, -60), (20, -50), (50, -20), (100, -60), (9, -50))
    assert word == pytest.approx([96, 174], abs=1)


@pytest.mark.parametrize(("pause", "count"), [(20, 1), (60, 2)])
def test_a_short_pause_belongs_to_a_word(pause, count):
    parts = (100, -60), (30, -20), (pause, -60), (30, -25), (100, -60)
    assert len(stretches(*parts)) == count


def test_clicks_are_no_speech():
    parts = (100, -60), (2, 0), (100, -60), (40, -20), (50, -60), (1, 0)
    (word,) = stretches(*parts, (50, -60))
    assert word == pytest.approx([198, 246], abs=1)


def test_steady_sounds_are_no_speech_unless_they_are_short():
    assert stretches((300, -20)) == []
    assert stretches((150, -20), (150, -24)) == []
    # A word can fill its recording.
    assert stretches((60, -20)) == [[0, 60]]


def test_a_short_recording_in_which_little_stands_out_is_a_word():
    assert stretches((5, -20), (20, -45)) == [[0, 25]]


def test_noise_that_begins_after_digital_silence_is_no_speech():
    (word,) = stretches((60, -150), (150, -40), (50, -15), (60, -40))
    assert word == pytest.approx([206, 264], abs=1)


def test_words_in_digital_silence():
    # Most of a word is within a few dB; that is no noise floor.
    (word,) = stretches((100, -150), (20, -20), (40, -33), (100, -150))
    assert word == pytest.approx([96, 164], abs=1)
