"""The versions of a model in the directory that a server watches.

A version is a directory whose name is a whole number. It appears by one rename
and contains the export and `pushed.json`: what was pushed, its evaluation and
when. Servers ignore all other names: a version that was rolled back is kept as
`.rolled-back-N`.
"""

import dataclasses
import datetime
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stftgan_tf.errors import UserError, counted
from stftgan_tf.evaluation import blessing, lineage
from stftgan_tf.files import directory_digest, file_names, locked
from stftgan_tf.saved_model import contract, export_files

_ROLLED_BACK = ".rolled-back-"

# Changes of the contract that an error lists.
_MAX_CHANGES = 6

# A prefix that no export uses for its temporary directories.
_STAGING = ".pushing-"


@dataclasses.dataclass(frozen=True)
class Rules:
    """What is required of an export that is pushed.

    Attributes:
      keep: number of newest versions that are kept.
      unblessed: whether an export that is not blessed is published as well.
      compared: whether the evaluation must have compared the export with the
        version blessed last.
      new_contract: whether the export may differ from the version served now
        in what clients rely on.
    """

    keep: int = 3
    unblessed: bool = False
    compared: bool = False
    new_contract: bool = False


def push(
    model: Path,
    evaluation: Path | None,
    base_path: Path,
    rules: Rules | None = None,
) -> Path:
    """Publishes an export as the next version.

    If the newest version is this export already, nothing is published, so
    that a push which was killed at its end can be repeated.

    Args:
      model: the export.
      evaluation: directory of its evaluation; may be None if it does not have
        to be blessed.
      base_path: directory of the versions.
      rules: what is required of the export.

    Returns:
      The directory of the version.

    Raises:
      UserError: if `model` is not an export, is not blessed, or changes the
        contract of the version served now, unless the rules allow it.
    """
    rules = rules or Rules()
    if not (model / "saved_model.pb").is_file():
        raise UserError(
            f"{model} is not an export (no saved_model.pb); create one with "
            "python -m stftgan_tf.export"
        )
    record = _record(model, evaluation, rules.unblessed)
    base_path.mkdir(parents=True, exist_ok=True)
    with locked(base_path / ".lock"):
        # Left by killed pushes: no other process has the lock.
        for leftover in base_path.glob(f"{_STAGING}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        newest = newest_version(base_path)
        if newest is None or not _is_same(record, newest):
            record = _check_contract(record, newest, rules.new_contract)
            record = _check_compared(record, base_path, rules)
            newest = _publish(record, base_path)
        _prune(base_path, rules.keep)
    return newest


def newest_version(base_path: Path) -> Path | None:
    """The version that servers load, if there is one."""
    versions = _versions(base_path)
    return versions.get(max(versions, default=0))


def _record(
    model: Path, evaluation: Path | None, unblessed: bool
) -> dict[str, Any]:
    """The content of `pushed.json`.

    Raises:
      UserError: if the export may not be pushed.
    """
    digest = directory_digest(model)
    verdict = blessing.read(evaluation) if evaluation else None
    now = datetime.datetime.now(datetime.timezone.utc)
    problem = None
    if verdict is None:
        problem = "it has not been evaluated"
    elif verdict["digest"] != digest:
        problem = f"the evaluation in {evaluation} is of a different export"
    elif not verdict["blessed"]:
        problem = "; ".join(verdict["reasons"])
    if problem and not unblessed:
        if verdict and not verdict["blessed"]:
            problem = "; ".join(_explained(verdict))
        raise UserError(f"{model} is not blessed: {problem}")
    return {
        "pushed": now.isoformat(timespec="seconds"),
        "model": str(model),
        "digest": digest,
        "unblessed": problem or False,
        "lineage": lineage.of_export(model, digest, evaluation),
        "verdict": verdict,
    }


def _explained(verdict: dict[str, Any]) -> Iterator[str]:
    """Why an export is not blessed, with what to do about it."""
    for line in blessing.verdict_lines(verdict):
        yield line.removeprefix(f"{blessing.NOT_BLESSED}: ")


def _check_contract(
    record: dict[str, Any], newest: Path | None, allowed: bool
) -> dict[str, Any]:
    """The record, with what the export changes of the version served now.

    Raises:
      UserError: if it changes anything, and that is not allowed.
    """
    model = Path(record["model"])
    changes = contract.changes(newest, model) if newest else []
    if not changes:
        return record
    if not allowed:
        more = len(changes) - _MAX_CHANGES
        text = "; ".join(changes[:_MAX_CHANGES])
        raise UserError(
            f"{model} changes what clients of {newest} rely on: {text}"
            f"{f'; and {more} more' if more > 0 else ''}. Use --new_contract "
            "to replace that version anyway, or another --base_path"
        )
    return record | {"new_contract": {"from": newest.name, "changes": changes}}


def _check_compared(
    record: dict[str, Any], base_path: Path, rules: Rules
) -> dict[str, Any]:
    """The record, with the reason if the comparison is missing.

    The export must have been compared with the version blessed last. One that
    was compared with no version passes too, unless `compared` is set. Figures
    of other audio do not compare, so then nothing is required.

    Raises:
      UserError: if it was not, and is not pushed `unblessed`.
    """
    last = last_blessed(base_path)
    if record["unblessed"] or last is None:
        return record
    digest = record["verdict"].get("last_digest")
    if digest is None and not rules.compared:
        return record
    if contract.audio_changes(last, Path(record["model"])):
        return record
    if digest == blessing.read(last)["digest"]:
        return record
    problem = (
        f"its evaluation did not compare it with {last}, the version blessed "
        "last; evaluate it again (pipeline.run --from=evaluate)"
    )
    if not rules.unblessed:
        raise UserError(f"{record['model']} is not blessed: {problem}")
    return record | {"unblessed": problem}


def _publish(record: dict[str, Any], base_path: Path) -> Path:
    """Copies the export to a new version."""
    numbers = [*_versions(base_path), *_rolled_back(base_path)]
    version = max(numbers, default=0) + 1
    target = base_path / str(version)
    staging = base_path / f"{_STAGING}{version}"
    shutil.copytree(record["model"], staging)
    # The evaluation was of the export as it was before.
    if directory_digest(staging) != record["digest"]:
        shutil.rmtree(staging)
        raise UserError(
            f"{record['model']} was changed by another process; try again"
        )
    text = json.dumps({"version": version, **record}, indent=1) + "\n"
    (staging / blessing.PUSHED).write_text(text, encoding="utf-8")
    _sync(staging)
    staging.rename(target)
    return target


def last_blessed(base_path: Path) -> Path | None:
    """The newest version that was blessed, if there is one."""
    for _, path in sorted(_versions(base_path).items(), reverse=True):
        file = path / blessing.PUSHED
        # A version without a record is not known to be blessed.
        if file.is_file() and not lineage.read(file).get("unblessed", True):
            return path
    return None


def _prune(base_path: Path, keep: int) -> None:
    """Removes all but the newest pushed versions, each by one rename.

    A directory that was not pushed, or that contains other files too, stays.
    """
    versions = {
        number: path
        for number, path in _versions(base_path).items()
        if (path / blessing.PUSHED).is_file()
    }
    for number in sorted(versions)[:-keep]:
        if export_files.EXPORT.foreign(_names_in_export(versions[number])):
            continue
        leftover = base_path / f"{_STAGING}{number}"
        versions[number].rename(leftover)
        shutil.rmtree(leftover)


def _names_in_export(version: Path) -> list[str]:
    return [name for name in file_names(version) if name != blessing.PUSHED]


def roll_back(base_path: Path) -> Path:
    """Removes the newest version; returns the one that is newest now.

    Raises:
      UserError: if there are fewer than two versions.
    """
    if not base_path.is_dir():
        raise UserError(f"{base_path} is not a directory")
    with locked(base_path / ".lock"):
        versions = _versions(base_path)
        if len(versions) < 2:
            raise UserError(
                f"{base_path} contains {counted(len(versions), 'version')}; a "
                "rollback requires at least 2"
            )
        *_, previous, newest = sorted(versions)
        versions[newest].rename(base_path / f"{_ROLLED_BACK}{newest}")
    return versions[previous]


def _is_same(record: dict[str, Any], version: Path) -> bool:
    """Whether a version is this export, blessed or unblessed as it is."""
    try:
        text = (version / blessing.PUSHED).read_text(encoding="utf-8")
        pushed = json.loads(text)
        names = ("digest", "unblessed")
        return all(pushed[name] == record[name] for name in names)
    except (OSError, KeyError, TypeError, ValueError):
        return False


def _versions(base_path: Path) -> dict[int, Path]:
    """Versions by number; a name may have leading zeros."""
    return {
        int(path.name): path
        for path in base_path.glob("*")
        if re.fullmatch(r"[0-9]{1,18}", path.name) and path.is_dir()
    }


def _rolled_back(base_path: Path) -> list[int]:
    names = [path.name for path in base_path.glob(f"{_ROLLED_BACK}*")]
    return [int(name.removeprefix(_ROLLED_BACK)) for name in names]


def _sync(directory: Path) -> None:
    """Writes all files to the disk, so that the rename comes after them."""
    for path in [directory, *directory.rglob("*")]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
