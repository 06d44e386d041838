"""The demo corpus: digits spoken by espeak-ng, identical on every machine.

Voices, pitches and speeds vary. Files are named as in the Free Spoken Digit
Dataset (`<digit>_<speaker>_<take>.wav`). The corpus requires no network: the
extra `demo` installs espeak-ng and its voices as a wheel.
"""

import concurrent.futures
import ctypes
import importlib.util
import multiprocessing
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from pipeline.sources.entries import Entry, Listing
from stftgan_tf.errors import UserError
from stftgan_tf.files import DirectoryKind, published_dir
from stftgan_tf.progress import Progress

DIGITS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
)

# Speaker -> (espeak-ng voice, pitch from 0 to 100). Voices with breath noise
# are not used, because espeak-ng's samples for them differ from run to run.
SPEAKERS = {
    "adam": ("en-us+m3", 40),
    "bella": ("en-us+f4", 55),
    "carl": ("en-us+m7", 30),
    "dora": ("en-gb-scotland+f4", 60),
    "emil": ("en-gb-x-rp+m4", 45),
    "flora": ("en-us-nyc+belinda", 50),
    "gus": ("en-029+m5", 35),
    "hanna": ("en-029+linda", 60),
    "ivan": ("en-us+edward", 50),
    "jane": ("en-gb-x-gbclan+Annie", 55),
    "kurt": ("en-gb-scotland+m8", 40),
    "lena": ("en-gb-x-rp+aunty", 50),
}
TAKES = 30

# Speeds of the takes, and offsets of their pitch from the speaker's.
_SPEEDS_WPM = (140, 155, 170, 185, 200, 215)
_PITCH_OFFSETS = (-20, -10, 0, 10, 20)

NAME_REGEX = r"(?P<label>\d)_(?P<speaker>[^_/]+)_\d+\.wav$"

# Increase this whenever the samples change.
_VERSION = 1

_KIND = DirectoryKind("0_adam_0.wav", ("*.wav",))

# Constants of espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_RATE, _PITCH = 1, 3


def corpus() -> Path:
    """The directory of the demo corpus, which the first call creates.

    It is in `$XDG_CACHE_HOME/stftgan_tf` (default: `~/.cache/stftgan_tf`).

    Raises:
      UserError: if espeak-ng is not installed or fails.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(cache) / "stftgan_tf" / f"demo-v{_VERSION}"
    if directory.is_dir():
        return directory
    try:
        with published_dir(directory, _KIND) as staging:
            write(staging, list(SPEAKERS), TAKES)
    except UserError:
        # Another process may have created the same corpus in the meantime.
        if not directory.is_dir():
            raise
    return directory


def list_entries() -> Listing:
    """The recordings of the demo corpus, which the first call creates.

    Raises:
      UserError: as `corpus`.
    """
    entries = []
    for path in sorted(corpus().glob("*.wav")):
        groups = re.search(NAME_REGEX, path.name).groupdict()
        entries.append(Entry(str(path), path.name, **groups))
    fields = frozenset(["label", "speaker"])
    return Listing(entries, "demo", own_fields=fields, has_folders=False)


def write(directory: Path, speakers: list[str], takes: int) -> None:
    """Writes `takes` recordings of every digit by every speaker, as WAV files.

    Raises:
      UserError: if espeak-ng is not installed or fails.
    """
    _check_installed()
    total = len(speakers) * len(DIGITS) * takes
    progress = Progress("demo corpus", total, "recordings")
    count = 0
    # espeak-ng keeps state between words. With one process per speaker the
    # samples do not depend on the order of the speakers.
    context = multiprocessing.get_context("spawn")

    def run_speaker(speaker: str) -> int:
        process = context.Process(
            target=_write_speaker, args=(directory, takes, speaker)
        )
        process.start()
        process.join()
        return process.exitcode

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for exit_code in pool.map(run_speaker, speakers):
            if exit_code:
                raise UserError(f"espeak-ng failed with exit code {exit_code}")
            count += takes * len(DIGITS)
            progress.update(count)
    progress.close(count)


def take_style(take: int) -> tuple[int, int]:
    """Speed (words per minute) and pitch offset of a take.

    Steps of 7 spread the speeds and pitches of consecutive takes evenly, and
    reach all 30 combinations, because 7 and 30 have no common factor.
    """
    number = 7 * take % (len(_SPEEDS_WPM) * len(_PITCH_OFFSETS))
    pitch_index, speed_index = divmod(number, len(_SPEEDS_WPM))
    return _SPEEDS_WPM[speed_index], _PITCH_OFFSETS[pitch_index]


def _check_installed() -> None:
    if importlib.util.find_spec("espeakng_loader") is None:
        raise UserError(
            "the demo corpus requires espeak-ng: pip install espeakng-loader"
        )


def _write_speaker(directory: Path, takes: int, speaker: str) -> None:
    """Writes all recordings of one speaker."""
    voice, pitch = SPEAKERS[speaker]
    say, rate_hz = _synthesiser(voice)
    for take in range(takes):
        speed_wpm, pitch_offset = take_style(take)
        for digit, word in enumerate(DIGITS):
            samples = say(word, speed_wpm, pitch + pitch_offset)
            path = directory / f"{digit}_{speaker}_{take}.wav"
            soundfile.write(path, samples, rate_hz, subtype="PCM_16")


def _synthesiser(
    voice: str,
) -> tuple[Callable[[str, int, int], np.ndarray], int]:
    """A function (word, speed_wpm, pitch) -> int16 samples, and their rate."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = espeakng_loader.get_data_path().encode()
    rate_hz = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data, 0)
    if rate_hz <= 0 or library.espeak_SetVoiceByName(voice.encode()):
        raise UserError(f"espeak-ng has no voice {voice!r}")
    chunks: list[np.ndarray] = []

    def collect(samples, count, _):
        if samples and count:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback_type = ctypes.CFUNCTYPE(
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_short),
        ctypes.c_int,
        ctypes.c_void_p,
    )
    callback = callback_type(collect)

    def say(word: str, speed_wpm: int, pitch: int) -> np.ndarray:
        chunks.clear()
        # Set in every call, so that the closure keeps the callback alive.
        library.espeak_SetSynthCallback(callback)
        text = word.encode() + b"\0"
        library.espeak_SetParameter(_RATE, speed_wpm, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        library.espeak_Synth(text, len(text), 0, 0, 0, _CHARS_UTF8, None, None)
        return np.concatenate(chunks)

    return say, rate_hz
