"""Labels and speakers: from the source itself, from names or from folders."""

import dataclasses
import re
import sys

from pipeline.sources.entries import Entry, Listing
from stftgan_tf.config import AudioConfig
from stftgan_tf.errors import UserError

# What an entry may have, and the config key that says what gives it.
KEYS = {"label": "labels", "speaker": "speakers"}


def assign(listing: Listing, config: AudioConfig) -> list[Entry]:
    """Gives the entries of a source the labels and speakers of the config.

    Returns:
      `listing.entries`, which it changes.

    Raises:
      UserError: if the source cannot give what the config asks for.
    """
    origins = {field: origin(field, listing, config) for field in KEYS}
    if set(origins.values()) == {"manifest"}:
        return listing.entries
    pattern, entries = re.compile(config.name_regex), listing.entries
    # In place, because two lists of millions of entries take much memory.
    for index, entry in enumerate(entries):
        values = _values(entry, origins, pattern)
        entries[index] = dataclasses.replace(entry, **values)
    return entries


def origin(field: str, listing: Listing, config: AudioConfig) -> str:
    """What gives `label` or `speaker`: manifest, regex, folder or none.

    Raises:
      UserError: as `assign`.
    """
    key = KEYS[field]
    mode = getattr(config, key)
    if mode == "auto":
        return "manifest" if field in listing.own_fields else "regex"
    if mode == "manifest" and field not in listing.own_fields:
        raise UserError(
            f"audio.{key} is manifest, but the source gives no {field}; "
            f"expected a manifest with the column {field}"
        )
    if mode == "folder" and not listing.has_folders:
        raise UserError(
            f"audio.{key} is folder, but this source has no folders"
        )
    return mode


def _values(
    entry: Entry, origins: dict[str, str], pattern: re.Pattern[str]
) -> dict[str, str | None]:
    values = {}
    match = pattern.search(entry.name)
    for field, name in origins.items():
        value = None
        if name == "manifest":
            value = getattr(entry, field)
        elif name == "folder":
            value = _folder(entry.name)
        elif name == "regex" and match:
            value = match.groupdict().get(field)
        # Interned, because many of millions of entries have the same.
        values[field] = sys.intern(value) if value else None
    return values


def _folder(name: str) -> str | None:
    """The directory that directly contains a recording."""
    parent = name.replace("\\", "/").rpartition("/")[0].rpartition("/")[2]
    return parent if parent not in ("", ".", "..") else None
