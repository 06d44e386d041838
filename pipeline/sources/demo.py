"""The demo corpus: spoken digits by espeak-ng, the same on every machine.

Voices, pitches and speeds vary, files are named like those of the Free Spoken
Digit Dataset (`<digit>_<speaker>_<take>.wav`). It needs no network: the extra
`demo` brings espeak-ng and its voices as a wheel.
"""

import concurrent.futures
import ctypes
import importlib.util
import multiprocessing
import os
from pathlib import Path

import numpy as np
import soundfile

from stftgan_tf.errors import UserError
from stftgan_tf.files import published_dir
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
# are left out: espeak-ng gives other samples for them from run to run.
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

# In how many ways a take's speed and pitch differ from the speaker's own.
_SPEEDS_WPM = (140, 155, 170, 185, 200, 215)
_PITCHES = (-20, -10, 0, 10, 20)

NAME_REGEX = r"(?P<label>\d)_(?P<speaker>[^_/]+)_\d+\.wav$"

# Changes whenever the samples do.
_VERSION = 1

# Constants of espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_RATE, _PITCH = 1, 3


def corpus() -> Path:
    """The folder of the demo corpus, made at the first call.

    It lies in `$XDG_CACHE_HOME/stftgan_tf`, by default `~/.cache/stftgan_tf`.

    Raises:
      UserError: if espeak-ng is not installed or cannot speak.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache) / "stftgan_tf" / f"demo-v{_VERSION}"
    if folder.is_dir():
        return folder
    try:
        with published_dir(folder, marker="0_adam_0.wav") as staging:
            write(staging, list(SPEAKERS), TAKES)
    except UserError:
        # Another process may have made the same one meanwhile.
        if not folder.is_dir():
            raise
    return folder


def write(folder: Path, speakers: list[str], takes: int) -> None:
    """Speaks every digit `takes` times by each speaker, as WAV files.

    Raises:
      UserError: if espeak-ng is not installed or cannot speak.
    """
    _check_installed()
    total = len(speakers) * len(DIGITS) * takes
    progress = Progress("demo corpus", total, "recordings")
    done = 0
    # espeak-ng keeps state from word to word: a process of its own for each
    # speaker makes the samples independent of how work is spread.
    context = multiprocessing.get_context("spawn")

    def speak(speaker: str) -> int:
        process = context.Process(target=_speak, args=(folder, takes, speaker))
        process.start()
        process.join()
        return process.exitcode

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for exit_code in pool.map(speak, speakers):
            if exit_code:
                raise UserError(f"espeak-ng failed with exit code {exit_code}")
            done += takes * len(DIGITS)
            progress.update(done)
    progress.close(done)


def _check_installed() -> None:
    if importlib.util.find_spec("espeakng_loader") is None:
        raise UserError(
            "the demo corpus needs espeak-ng: pip install espeakng-loader"
        )


def _speak(folder: Path, takes: int, speaker: str) -> None:
    """Writes all recordings of one speaker."""
    voice, pitch = SPEAKERS[speaker]
    say, rate_hz = _synthesiser(voice)
    for take in range(takes):
        speed, higher = _ways(take)
        for digit, word in enumerate(DIGITS):
            samples = say(word, speed, pitch + higher)
            path = folder / f"{digit}_{speaker}_{take}.wav"
            soundfile.write(path, samples, rate_hz, subtype="PCM_16")


def _ways(take: int) -> tuple[int, int]:
    """Speed and pitch of a take; any few takes in a row are spread evenly.

    (7 has no common factor with the 30 combinations.)
    """
    number = 7 * take % (len(_SPEEDS_WPM) * len(_PITCHES))
    pitch = number // len(_SPEEDS_WPM)
    return _SPEEDS_WPM[number % len(_SPEEDS_WPM)], _PITCHES[pitch]


def _synthesiser(voice: str):
    """A function (word, speed, pitch) -> int16 samples, and their rate."""
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

    def say(word: str, speed: int, pitch: int) -> np.ndarray:
        chunks.clear()
        # Set anew each time: the closure keeps the callback alive.
        library.espeak_SetSynthCallback(callback)
        text = word.encode() + b"\0"
        library.espeak_SetParameter(_RATE, speed, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        library.espeak_Synth(text, len(text), 0, 0, 0, _CHARS_UTF8, None, None)
        return np.concatenate(chunks)

    return say, rate_hz
