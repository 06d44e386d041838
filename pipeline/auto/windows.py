"""Chooses sample rate, STFT, and length and placement of the windows."""

import dataclasses
from typing import Any

from pipeline.auto.choice import Choice
from pipeline.auto.survey import Facts

# Sample rate -> section `stft`, without the floor.
STFT = {
    8000: {"stft.frame_length": 256, "stft.frame_step": 64},
    16000: {"stft.frame_length": 512, "stft.frame_step": 128},
}
_FRAME_SECS, _STEP_SECS = 0.032, 0.008

# Recordings that contain nothing above this are sampled at 8 kHz.
_NARROW_HZ = 4400

# Lengths of a window in frames: a short word or half a second of speech, and a
# longer word or a second of a texture.
SHORT, LONG = 64, 128

# The longest words (90th percentile) for which the short window suffices.
_SHORT_WORD_SECS = 0.5

# Floors of the shipped configs; a fifth of the spectrum is below them.
_FLOORS_DB = (-90, -70)


@dataclasses.dataclass(frozen=True)
class Windows:
    """Shape and number of the windows.

    Attributes:
      rate_hz: sample rate.
      frames: frames per window.
      stride_frames: frames from one window to the next.
      place: `grid` or `speech`.
      count: estimated number of windows.
    """

    rate_hz: int
    frames: int
    stride_frames: int
    place: str
    count: int

    @property
    def secs(self) -> float:
        """Length of a window."""
        return _length_secs(self.frames)


def windows_of(facts: Facts, rate_hz: int) -> Windows:
    """Shape of the windows, and how many there are."""
    if facts.kind == "words":
        frames, stride, place = _word_windows(facts)
    else:
        frames = SHORT if facts.kind == "speech" else LONG
        stride, place = frames // 2, "grid"
    shape = Windows(rate_hz, frames, stride, place, 0)
    if place == "speech":
        count = max(facts.stretches, facts.recordings - facts.unusable)
    else:
        count = _grid_windows(facts, shape)
    return dataclasses.replace(shape, count=round(count))


def _word_windows(facts: Facts) -> tuple[int, int, str]:
    """Frames, stride and placement of windows of single words."""
    _, median, longest = facts.lengths_secs
    short, long = (_length_secs(frames) for frames in (SHORT, LONG))
    if median <= short and longest <= 1.5 * short:
        return SHORT, SHORT, "grid"
    if median <= long and longest <= 1.2 * long:
        return LONG, LONG, "grid"
    frames = SHORT if facts.word_secs <= _SHORT_WORD_SECS else LONG
    return frames, frames, "speech"


def _length_secs(frames: int) -> float:
    """The length of a window."""
    return (frames - 1) * _STEP_SECS + _FRAME_SECS


def _grid_windows(facts: Facts, windows: Windows) -> float:
    """Windows of recordings of the mean length, on a grid."""
    usable = facts.recordings * (1 - facts.unusable / facts.surveyed)
    mean = facts.secs / max(1.0, usable)
    strides = (mean - windows.secs) / (windows.stride_frames * _STEP_SECS)
    return usable * max(1.0, strides + 1)


def choose_rate(facts: Facts) -> Choice:
    """The rate that most of the audio has, up to 16 kHz."""
    above = sum(share for hz, share in facts.rates.items() if hz >= 16000)
    most = max(facts.rates, key=lambda hz: facts.rates[hz])
    texts = ", ".join(f"{hz} Hz" for hz in sorted(facts.rates))
    if above < 0.5:
        rate_hz, why = 8000, f"the recordings are at {most} Hz"
        if len(facts.rates) > 1:
            why = f"most of the audio is below 16000 Hz ({texts})"
    elif facts.bandwidth_hz < _NARROW_HZ:
        rate_hz = 8000
        why = (
            f"nothing above {facts.bandwidth_hz:.0f} Hz in files sampled at "
            f"{most} Hz"
        )
    elif len(facts.rates) > 1:
        rate_hz = 16000
        why = f"{above:.0%} of the audio has at least this rate ({texts})"
    else:
        rate_hz, why = 16000, f"the recordings are at {most} Hz"
        if most > 16000:
            why += ", and more than 16000 Hz is too slow on a CPU"
    return Choice(
        "sample rate", f"{rate_hz} Hz", why, {"audio.sample_rate_hz": rate_hz}
    )


def choose_stft(facts: Facts, rate_hz: int) -> Choice:
    """Frames of the shipped configs, and a floor for these recordings."""
    fifth = facts.quiet_fifth_db[rate_hz == 16000]
    low, high = _FLOORS_DB
    # Rather a little below the fifth than above it.
    floor = min(high, max(low, -10 * round((2 - fifth) / 10)))
    values = {**STFT[rate_hz], "stft.floor_db": float(floor)}
    length, step = (values[f"stft.frame_{x}"] for x in ("length", "step"))
    why = (
        "frames of 32 ms every 8 ms, as in all measured recipes; 20% of the "
        f"values are below {fifth:.0f} dB"
    )
    return Choice("STFT", f"{length}/{step}, floor {floor} dB", why, values)


def choose_window(facts: Facts, windows: Windows) -> Choice:
    """Length of the windows and the step from one to the next."""
    why = {
        "words": f"90% of the words last at most {facts.word_secs:.2f} s",
        "speech": "half a second is enough for continuous speech",
        "texture": "the pattern of a steady sound may take a second",
    }[facts.kind]
    return Choice(
        "windows",
        f"{windows.frames} frames ({windows.secs:.2f} s), about "
        f"{windows.count:,}",
        why,
        {
            "window.frames": windows.frames,
            "window.stride_frames": windows.stride_frames,
        },
    )


def choose_placement(facts: Facts, windows: Windows) -> Choice:
    """Where the windows are, and what counts as silence."""
    values: dict[str, Any] = {"window.place": windows.place}
    if windows.place == "speech":
        summary = "on the speech"
        why = (
            f"{1 - facts.active_share:.0%} of the audio is pauses, which "
            "windows on a grid would contain"
        )
    elif facts.kind == "words":
        summary = "one per recording"
        why = "recordings are about as long as a window"
    else:
        summary = "overlapping by half"
        why = "the sound is continuous, so all positions are equally good"
    if facts.kind == "words":
        # Padding would give a word that is a little too long two windows.
        values["window.tail"] = "crop"
    if facts.kind == "speech":
        values["window.silence_db"] = 20.0
    return Choice("placement", summary, why, values)
