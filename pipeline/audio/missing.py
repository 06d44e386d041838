"""Says where a missing file was looked for, and why it may be missing."""

import contextlib
import functools
import os
import unicodedata


def explain(path: str) -> str:
    """The place where a local file was looked for, and a likely reason.

    An accented letter is one character in the Unicode form NFC and two in NFD.
    Both look the same, but most file systems keep them apart, as they do with
    upper and lower case.
    """
    place = os.path.abspath(path)
    similar = _similar(place)
    if similar is None:
        return place
    difference = "upper and lower case"
    if _nfc(similar) == _nfc(place):
        difference = "the Unicode form of its accents (NFC, NFD)"
    return f"{place}; one exists whose name differs only in {difference}"


def _similar(path: str) -> str | None:
    """The path of an existing file whose name looks the same."""
    current, *parts = path.split(os.sep)
    current = current or os.sep
    for part in parts:
        exact = os.path.join(current, part)
        if not os.path.exists(exact):
            name = _names(current).get(_nfc(part).casefold())
            # A broken link is listed, but does not exist.
            if name in (None, part):
                return None
            exact = os.path.join(current, name)
        current = exact
    return current


@functools.lru_cache(maxsize=4)
def _names(directory: str) -> dict[str, str]:
    """The names in a directory, by what they have in common when seen."""
    # Cached, because one wrong manifest makes thousands of files missing.
    names: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError):
        for name in sorted(os.listdir(directory)):
            names.setdefault(_nfc(name).casefold(), name)
    return names


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
