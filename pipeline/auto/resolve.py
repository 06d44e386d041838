"""Finds the config of `--config auto`: from an earlier survey, or a new one."""

import csv
import dataclasses
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from pipeline import auto, storage
from pipeline.auto import document, survey
from pipeline.auto.config import choose_config
from pipeline.auto.holdout import is_cut, pieces_of
from pipeline.auto.survey import Facts
from pipeline.sources.entries import format_secs
from pipeline.sources.recordings import Source
from stftgan_tf import config as config_lib
from stftgan_tf.config import AudioConfig, Config
from stftgan_tf.errors import UserError
from stftgan_tf.files import write_atomically

# Files in the root of a pipeline: the config, and the pieces of recordings if
# whole ones cannot be held out.
CONFIG, PIECES = "auto.yaml", "auto.csv"


@dataclasses.dataclass(frozen=True)
class Resolved:
    """The config for some recordings.

    Attributes:
      text: the config as YAML with reasons.
      lines: what the terminal shows.
      pieces: a manifest of pieces of the recordings, which takes the place of
        the source; None if whole recordings are used.
    """

    text: str
    lines: list[str]
    pieces: str | None = None

    def config(self, overrides: Sequence[str] = ()) -> Config:
        """The config; `overrides` take precedence.

        Raises:
          ConfigError: if an override cannot be used.
        """
        values = yaml.safe_load(self.text)
        return config_lib.from_dict(values, overrides, source=auto.NAME)

    def write(self, root: Path) -> None:
        """Writes the files into the root of a pipeline."""
        root.mkdir(parents=True, exist_ok=True)
        if self.pieces is None:
            (root / PIECES).unlink(missing_ok=True)
        else:
            # File names that are not UTF-8 keep their bytes.
            data = self.pieces.encode("utf-8", "surrogateescape")
            write_atomically(root / PIECES, data)
        # Last, because its presence means that the survey is complete.
        write_atomically(root / CONFIG, self.text.encode())


def choose(
    open_source: Callable[[AudioConfig], Source],
    root: Path,
    minutes: float,
    overrides: Sequence[str] = (),
) -> Resolved:
    """Surveys recordings and chooses a config.

    Args:
      open_source: lists the recordings for a config.
      root: directory of the pipeline, which the paths of pieces start from.
      minutes: of training.
      overrides: `--set`, to be part of the text.

    Raises:
      UserError: if the recordings cannot be used.
    """
    facts = survey.survey(open_source)
    choices = choose_config(facts, minutes)
    shown = document.with_overrides(choices, overrides)
    source = open_source(facts.names.applied_to(survey.AUDIO))
    pieces = _pieces(source, facts, root) if is_cut(facts) else None
    return Resolved(
        document.to_yaml(shown, facts, survey.fingerprint(source)),
        document.summary(choices, facts),
        pieces,
    )


def read_existing(root: Path) -> str | None:
    """The config of an earlier survey in the root of a pipeline, if any."""
    path = root / CONFIG
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def change_since(
    root: Path, open_source: Callable[[AudioConfig], Source]
) -> str | None:
    """What to do if the recordings are not those of the survey, else None.

    Args:
      root: directory of the pipeline.
      open_source: lists the recordings for a config.
    """
    expected = document.fingerprint_in(read_existing(root) or "")
    if expected in ("", survey.fingerprint(open_source(survey.AUDIO))):
        return None
    return (
        f"the recordings have changed since {root / CONFIG} was chosen; delete "
        "it for a new survey"
    )


def _pieces(source: Source, facts: Facts, root: Path) -> str:
    """The pieces of all recordings as a manifest."""
    lengths = {group.share: group.secs for group in facts.by_recording}
    has = {"label": facts.names.labels, "speaker": facts.names.speakers}
    columns = [name for name, field in has.items() if field]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "start", "end", *columns])
    for recording in source.recordings:
        secs = lengths[survey.split_share(recording, "recording")]
        path = _relative(recording.path, root)
        unknown = recording.label < 0
        names = {
            "label": "" if unknown else source.labels[recording.label],
            "speaker": recording.speaker,
        }
        for piece in pieces_of(secs):
            start = recording.start_secs + piece.start_secs
            end = recording.end_secs
            if piece.end_secs is not None:
                end = recording.start_secs + piece.end_secs
            stop = "" if end is None else format_secs(end)
            row = [path, format_secs(start), stop]
            writer.writerow([*row, *(names[name] for name in columns)])
    return text.getvalue()


def _relative(path: str, root: Path) -> str:
    """A path as a manifest in the root has it."""
    if storage.is_remote(path):
        return path
    return os.path.relpath(path, root)
