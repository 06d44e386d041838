"""The extensions of audio files, by the library that reads them."""

import importlib.util

# Extensions of the files that libsndfile reads.
EXTENSIONS = (
    ".8svx",
    ".aif",
    ".aifc",
    ".aiff",
    ".au",
    ".avr",
    ".bwf",
    ".caf",
    ".flac",
    ".htk",
    ".ircam",
    ".mp2",
    ".mp3",
    ".mpa",
    ".mpga",
    ".nist",
    ".oga",
    ".ogg",
    ".opus",
    ".paf",
    ".pvf",
    ".rf64",
    ".sds",
    ".sf",
    ".snd",
    ".sph",
    ".svx",
    ".voc",
    ".w64",
    ".wav",
    ".wave",
    ".wve",
    ".xi",
)

# Extensions of the files that PyAV reads (`pip install '.[av]'`).
AV_EXTENSIONS = (
    ".3g2",
    ".3gp",
    ".aac",
    ".ac3",
    ".amr",
    ".ape",
    ".asf",
    ".avi",
    ".flv",
    ".m4a",
    ".m4b",
    ".m4r",
    ".mka",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpc",
    ".spx",
    ".tta",
    ".webm",
    ".wma",
    ".wv",
)


def has_av() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def readable_extensions() -> tuple[str, ...]:
    """Extensions of the files that can be decoded on this machine."""
    return EXTENSIONS + (AV_EXTENSIONS if has_av() else ())
