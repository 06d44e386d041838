"""Finds labels and speakers in the names of recordings.

A wrong label is worse than none, so names decide nothing unless they are
regular: nearly all have the same form, and the values of a field repeat.
"""

import collections
import dataclasses
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from stftgan_tf.config import AudioConfig

# A form must fit this share of the names.
_MIN_SHARE = 0.95

# Number of labels, and recordings that each should have (in the median).
_MAX_LABELS = 50
_MIN_PER_LABEL, _MIN_PER_SPEAKER = 8, 2

# One part of a name between separators, and a separator.
_PART, _SEPARATOR = r"[^/_\-. ]+", r"[_\-. ]+"

# Column -> how a reason names it; all others are parts of file names.
_REASONS = {"folder": "folders", "top": "the folders at the top"}

# Corpus -> form of its names.
_KNOWN = {
    "Speech Commands": r"(?P<label>[^/]+)/(?P<speaker>[0-9a-f]+)_nohash_\d+\.",
    "FSDD": r"(?:^|/)(?P<label>\d)_(?P<speaker>[^_/]+)_\d+\.\w+$",
    "VCTK": r"(?:^|/)(?P<speaker>[ps]\d{1,4})_\d+(?:_mic\d)?\.\w+$",
    "TIMIT": r"(?i)(?:^|/)dr\d/(?P<speaker>[fm]\w{3}\d)/s[aix]\d+\.",
    "RAVDESS": r"(?:^|/)\d\d-\d\d-(?P<label>\d\d)(?:-\d\d){3}-(?P<speaker>\d\d)"
    r"\.\w+$",
    "LJ Speech": r"(?:^|/)LJ\d{3}-\d{4}\.\w+$",
    "CREMA-D": r"(?:^|/)(?P<speaker>\d{4})_[A-Z]{3}_(?P<label>[A-Z]{3})_"
    r"[A-Z]{2}\.",
}

# Form of the names of speaker, chapter and utterance. Dates have it as well,
# but a month belongs to several years, and a chapter to one speaker.
_CHAPTERS = {
    "LibriSpeech": r"(?:^|/)(?P<speaker>\d+)-(\d+)-\d+\.\w+$",
    "LibriTTS": r"(?:^|/)(?P<speaker>\d+)_(\d+)_\d+_\d+\.\w+$",
}

# What people name kinds of sounds, and parts of a corpus.
_LABELS = frozenset(
    [str(number) for number in range(11)]
    + "zero one two three four five six seven eight nine ten yes no up down "
    "left right on off stop go forward backward follow learn visual bed bird "
    "cat dog house marvin sheila tree wow happy sad angry neutral calm fear "
    "fearful disgust surprise surprised anger sadness happiness hap ang neu "
    "dis fea male female laughter cough sneeze breath sigh".split()
)
_STRUCTURE = re.compile(
    r"(?i)(train|test|dev|valid|validation|val|eval|clean|other|noisy|wavs?|"
    r"flac|mp3|audio|clips?|data|dataset|recordings?|rec|records?|files?|"
    r"tracks?|takes?|parts?|sessions?|sets?|batch|disc|cd|mic|room|channels?|"
    r"ch|chapter|samples?|utt|utterances?|sounds?|voice|new|old|untitled|"
    r"segments?|chunks?|raw|backup|copy|sub|folder|dir)*\d*"
)
_IDENTIFIER = re.compile(r"(?i)[a-z]{1,8}[_-]?\d{1,6}")


@dataclasses.dataclass(frozen=True)
class Field:
    """Where the names of recordings contain a label or a speaker.

    Attributes:
      by: a value of `audio.labels` or `audio.speakers`: `folder`, `regex`, or
        `auto` if the source itself has it.
      values: the labels or speakers, sorted.
      reason: why, in a few words.
    """

    by: str
    values: tuple[str, ...]
    reason: str


@dataclasses.dataclass(frozen=True)
class Names:
    """Labels and speakers of recordings; None where they are unknown.

    Attributes:
      labels: of the recordings.
      speakers: of the recordings.
      name_regex: value of `audio.name_regex` that gives those by `regex`.
      unclear: number of other parts of the names that repeat, each of which
        could be a label or a speaker.
    """

    labels: Field | None = None
    speakers: Field | None = None
    name_regex: str = ""
    unclear: int = 0

    def values(self) -> dict[str, str]:
        """The keys of the section `audio` that give them."""
        fields = {"labels": self.labels, "speakers": self.speakers}
        keys = {name: f.by if f else "none" for name, f in fields.items()}
        if self.name_regex:
            keys["name_regex"] = self.name_regex
        return keys

    def applied_to(self, audio: AudioConfig) -> AudioConfig:
        """The config with those keys."""
        return dataclasses.replace(audio, **self.values())


def read(names: Sequence[str], words: bool) -> Names:
    """Finds labels and speakers in names.

    Args:
      names: relative paths with forward slashes.
      words: whether the recordings are single words, so that an unknown field
        is a label rather than a speaker.
    """
    if len(names) < 2:
        return Names()
    for corpus, pattern in (_KNOWN | _CHAPTERS).items():
        result = _known(names, corpus, pattern)
        if result:
            return result
    return _regular(names, words)


def _known(names: Sequence[str], corpus: str, pattern: str) -> Names | None:
    matches = [m for m in map(re.compile(pattern).search, names) if m]
    if len(matches) < _MIN_SHARE * len(names):
        return None
    if corpus in _CHAPTERS:
        speakers = collections.defaultdict(set)
        for match in matches:
            speakers[match[2]].add(match["speaker"])
        if max(map(len, speakers.values())) > 1:
            return None
        # Names of the chapters are not needed.
        pattern = pattern.replace(r"(\d+)", r"\d+")
    fields = {}
    for key in re.compile(pattern).groupindex:
        values = tuple(sorted({match[key] for match in matches}))
        if len(values) > 1:
            reason = f"file names as in {corpus}"
            fields[f"{key}s"] = Field("regex", values, reason)
    return Names(**fields, name_regex=pattern if fields else "")


def _regular(names: Sequence[str], words: bool) -> Names:
    """Labels and speakers from folders, then from parts of file names."""
    columns = _columns(names)
    roles: dict[str, str] = {}
    kinds = {c: _kind(c, v, names) for c, v in columns.items()}
    for role in ("label", "speaker"):
        column = next((c for c, kind in kinds.items() if kind == role), None)
        if column:
            roles[role] = column
    unclear = [c for c, kind in kinds.items() if kind == "word"]
    for role in ("label", "speaker") if words else ("speaker",):
        # The folder first; of several parts of a name, none is more likely.
        folder = [c for c in unclear if c == "folder"]
        if role not in roles and (folder or len(unclear) == 1):
            roles[role] = (folder or unclear)[0]
            unclear.remove(roles[role])
    return dataclasses.replace(_build(roles, columns), unclear=len(unclear))


def _columns(names: Sequence[str]) -> dict[str, list[str]]:
    """Folders and parts of file names that nearly all names have.

    Returns:
      Column -> value in each name that has it. Columns are `folder`, `top` (the
      first of several folders), and `part 0`, `part 1` and so on.
    """
    paths = [PurePosixPath(name) for name in names]
    folders = [p.parts[-2] for p in paths if len(p.parts) > 1]
    tops = [p.parts[0] for p in paths if len(p.parts) > 2]
    columns = {"folder": folders, "top": tops}
    parts = [re.split(_SEPARATOR, p.stem) for p in paths]
    (count, _), *_ = collections.Counter(map(len, parts)).most_common()
    for i in range(count if count > 1 else 0):
        columns[f"part {i}"] = [x[i] for x in parts if len(x) == count]
    for column, values in list(columns.items()):
        is_copy = column.startswith("part") and values == folders
        if is_copy or len(values) < _MIN_SHARE * len(names):
            del columns[column]
    return columns


def _kind(column: str, values: list[str], names: Sequence[str]) -> str:
    """`label`, `speaker`, `word` (one of the two) or `none`."""
    counts = collections.Counter(values)
    distinct = list(counts)
    typical = sorted(counts.values())[len(counts) // 2]
    if len(counts) < 2 or typical < _MIN_PER_SPEAKER:
        return "none"
    few = len(counts) <= _MAX_LABELS and typical >= _MIN_PER_LABEL
    known = sum(value.lower() in _LABELS for value in distinct)
    numeric = all(value.isdigit() for value in distinct)
    if column.startswith("part") and numeric:
        # A running number, such as that of the take.
        return "none"
    if few and known >= 0.6 * len(distinct):
        return "label"
    if all(_STRUCTURE.fullmatch(value) for value in distinct):
        is_repeated = numeric and _is_repeated(column, values, names)
        return "speaker" if is_repeated else "none"
    if all(_IDENTIFIER.fullmatch(value) for value in distinct):
        return "speaker"
    if column.startswith("part") and not all(map(str.isalpha, distinct)):
        return "none"
    return "word" if few or len(counts) > _MAX_LABELS else "none"


def _is_repeated(column: str, values: list[str], names: Sequence[str]) -> bool:
    """Whether file names repeat those of their folders, as in `84/84_7.wav`."""
    if column not in ("folder", "top") or len(values) < len(names):
        return False
    stems = (re.split(_SEPARATOR, PurePosixPath(name).stem) for name in names)
    repeated = sum(v in s for v, s in zip(values, stems, strict=True))
    return repeated >= _MIN_SHARE * len(names)


def _build(roles: dict[str, str], columns: dict[str, list[str]]) -> Names:
    fields = {}
    for role, column in roles.items():
        values = tuple(sorted(set(columns[column])))
        if role == "label" and len(values) > _MAX_LABELS:
            continue
        by = "folder" if column == "folder" else "regex"
        fields[role] = Field(by, values, _REASONS.get(column, "file names"))
    in_names = {
        roles[role]: role for role, f in fields.items() if f.by == "regex"
    }
    return Names(fields.get("label"), fields.get("speaker"), _regex(in_names))


def _regex(groups: dict[str, str]) -> str:
    """The `audio.name_regex` that reads columns; empty for no column.

    Args:
      groups: column -> name of the group.
    """
    if not groups:
        return ""
    pattern = "(?:^|/)"
    if "top" in groups:
        pattern = rf"^(?P<{groups['top']}>[^/]+)/(?:.*/)?"
    parts = [int(c.removeprefix("part ")) for c in groups if c != "top"]
    for i in range(max(parts, default=-1) + 1):
        role = groups.get(f"part {i}")
        pattern += f"(?P<{role}>{_PART})" if role else _PART
        pattern += _SEPARATOR if i < max(parts) else ""
    return rf"{pattern}[^/]*$"
