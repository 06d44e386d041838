"""Whether recordings have the labels and speakers that a job asks for."""

import collections
import re
import unicodedata
from typing import Any

from pipeline.beam import segments
from pipeline.sources.labels import KEYS
from pipeline.sources.recordings import Recording, Source
from stftgan_tf.config import Config
from stftgan_tf.errors import UserError

# What a config can ask for instead of labels or speakers.
_ALTERNATIVES = {
    "label": "model.condition=cluster",
    "speaker": "split.by=recording",
}

# Labels or speakers that a line lists.
_MAX_LISTED = 3


def check(source: Source, config: Config) -> list[str]:
    """Checks the labels, the speakers and the split of a source.

    Returns:
      Warnings: names that a pattern does not match, labels that look the same.

    Raises:
      UserError: if no recording has a label or a speaker although the model or
        the split asks for it, or if `split.eval_regex` matches no name.
    """
    required = _requirements(source, config)
    for field, key in required.items():
        lacking = _lacking(source, field)
        if source.recordings and len(lacking) == len(source.recordings):
            raise UserError(
                f"{key}, but 0 of {len(lacking):,} {source.unit} give a "
                f"{field}: {_reason(source, config, field, lacking)}; or set "
                f"{_ALTERNATIVES[field]}"
            )
    if config.split.by == "regex":
        _check_eval_regex(source, config)
    return [
        *_unmatched(source, config, required),
        *_similar_labels(source.labels),
    ]


def facts(source: Source, config: Config) -> dict[str, Any]:
    """How many recordings have a label and a speaker, for the manifest."""
    splits = collections.defaultdict(set)
    for recording in source.recordings:
        if recording.speaker:
            split = segments.split_of(recording, config)
            splits[recording.speaker].add(split)
    total = len(source.recordings)
    return {
        "unit": source.unit,
        "total": total,
        "with_label": total - len(_lacking(source, "label")),
        "with_speaker": total - len(_lacking(source, "speaker")),
        "speakers": len(splits),
        "first_speakers": sorted(splits)[:_MAX_LISTED],
        "speakers_in_both_splits": sum(len(s) > 1 for s in splits.values()),
    }


def describe(manifest: dict[str, Any]) -> list[str]:
    """The `facts` of a manifest, in one to three lines.

    Example: `1,676 of 1,676 names give a label (6: alexa, computer, ...); 0
    give a speaker`.
    """
    values = manifest["names"]
    labels, speakers = manifest["labels"], values["first_speakers"]
    lines = [
        f"{values['with_label']:,} of {values['total']:,} {values['unit']} "
        f"give a label{_listed(labels, len(labels))}; "
        f"{values['with_speaker']:,} give a speaker"
        f"{_listed(speakers, values['speakers'])}"
    ]
    unknown = values["total"] - values["with_speaker"]
    if unknown and manifest["config"]["split"]["by"] == "speaker":
        lines.append(
            f"split.by is speaker; {unknown:,} {values['unit']} without a "
            "speaker are held out one by one"
        )
    shared = values["speakers_in_both_splits"]
    if shared:
        lines.append(
            f"{shared:,} of {values['speakers']:,} speakers are in both "
            "splits; split.by=speaker holds out whole speakers"
        )
    return lines


def _requirements(source: Source, config: Config) -> dict[str, str]:
    """The fields that the config requires -> the key that requires them."""
    required = {}
    if config.model.condition == "label":
        required["label"] = "model.condition is label"
    # Where no speaker is configured, recordings are split instead.
    is_configured = config.audio.speakers in ("folder", "regex", "manifest")
    if config.split.by == "speaker" and (
        is_configured or _has_group(source, config, "speaker")
    ):
        required["speaker"] = "split.by is speaker"
    return required


def _has_group(source: Source, config: Config, field: str) -> bool:
    """Whether `audio.name_regex` is what gives a field."""
    groups = re.compile(config.audio.name_regex).groupindex
    return source.origins.get(field) == "regex" and field in groups


def _lacking(source: Source, field: str) -> list[Recording]:
    """The recordings without a label or a speaker."""
    if field == "label":
        return [r for r in source.recordings if r.label < 0]
    return [r for r in source.recordings if not r.speaker]


def _reason(
    source: Source, config: Config, field: str, lacking: list[Recording]
) -> str:
    """Why recordings lack a field, with a remedy."""
    origin, names = source.origins.get(field), _examples(lacking)
    key, pattern = f"audio.{KEYS[field]}", config.audio.name_regex
    if origin == "none":
        return f"{key} is none"
    if origin == "folder":
        return f"{key} is folder, but no folder contains {names}"
    if origin == "manifest":
        return f"the {field} is empty for {names}"
    if not pattern:
        return f"audio.name_regex is empty; set it, or {key}=folder"
    column = ""
    if source.unit == "rows":
        column = f"there is no column {field}, and "
    regex = f"audio.name_regex '{pattern}'"
    if not _has_group(source, config, field):
        return f"{column}{regex} has no group (?P<{field}>...)"
    hint = _case_hint(pattern, lacking)
    if any(re.search(pattern, r.name) for r in lacking):
        return f"{column}{regex} gives an empty {field} for {names}"
    if len(lacking) < len(source.recordings):
        return f"{column}{regex} does not match {names}{hint}"
    return (
        f"{column}0 of {len(lacking):,} {source.unit} match {regex}, such as "
        f"{names}{hint}"
    )


def _unmatched(
    source: Source, config: Config, required: dict[str, str]
) -> list[str]:
    """Warnings about recordings that lack what others may have."""
    pattern, origins = config.audio.name_regex, source.origins.values()
    if pattern and "regex" in origins and not re.compile(pattern).groupindex:
        return [
            f"audio.name_regex '{pattern}' has no group (?P<label>...) or "
            "(?P<speaker>...), so it gives no labels and no speakers"
        ]
    # One warning about names that give neither.
    fields_of: list[tuple[list[Recording], list[str]]] = []
    for field in KEYS:
        # The pattern of a shipped config is not meant for a manifest's paths.
        is_expected = source.unit == "names" and _has_group(
            source, config, field
        )
        if field in required or is_expected:
            lacking = _lacking(source, field)
            if fields_of and fields_of[0][0] == lacking:
                fields_of[0][1].append(field)
            elif lacking:
                fields_of.append((lacking, [field]))
    return [
        f"{len(lacking):,} of {len(source.recordings):,} {source.unit} "
        f"give no {' and no '.join(fields)}: "
        f"{_reason(source, config, fields[0], lacking)}"
        for lacking, fields in fields_of
    ]


def _check_eval_regex(source: Source, config: Config) -> None:
    recordings, pattern = source.recordings, config.split.eval_regex
    if any(segments.split_of(r, config) == "eval" for r in recordings):
        return
    raise UserError(
        f"split.by is regex, but split.eval_regex '{pattern}' matches 0 of "
        f"{len(recordings):,} {source.unit}, such as {_examples(recordings)}"
        f"{_case_hint(pattern, recordings)}; fix it, or set split.by=recording"
    )


def _similar_labels(labels: list[str]) -> list[str]:
    """Warnings about labels that differ only in case or Unicode form."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        key = unicodedata.normalize("NFKC", label).casefold()
        groups.setdefault(key, []).append(label)
    return [
        f"the labels {', '.join(map(repr, group))} differ only in upper and "
        "lower case or in their Unicode form; they count as different"
        for group in groups.values()
        if len(group) > 1
    ]


def _case_hint(pattern: str, recordings: list[Recording]) -> str:
    match = any(re.search(pattern, r.name, re.IGNORECASE) for r in recordings)
    exact = any(re.search(pattern, r.name) for r in recordings)
    if not match or exact:
        return ""
    return f" (it would match without regard to case: '(?i){pattern}')"


def _examples(recordings: list[Recording]) -> str:
    names = list(dict.fromkeys(r.name for r in recordings))
    return " and ".join(map(repr, names[:2]))


def _listed(names: list[str], count: int) -> str:
    """The first names and their number, in parentheses; empty for none."""
    if not count:
        return ""
    # A name that is not valid Unicode cannot be printed as it is.
    texts = [repr(n)[1:-1] for n in names[:_MAX_LISTED]]
    more = [] if count == len(texts) else ["..."]
    return f" ({count:,}: {', '.join(texts + more)})"
