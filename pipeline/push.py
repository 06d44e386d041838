"""Publishes a blessed export as the next version that servers find.

A version is a folder named by a whole number; it appears by one rename, with
`pushed.json` in it: what was pushed, its blessing and when. Servers ignore all
other names: a version that --rollback takes away is kept as `.rolled-back-N`.
"""

import argparse
import datetime
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from stftgan_tf import cli
from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.evaluation import blessing, lineage
from stftgan_tf.files import directory_digest, locked

EXAMPLE = (
    "python -m pipeline.push --model exports/digits "
    "--blessing verdicts/digits --base_path serving/digits"
)

_ROLLED_BACK = ".rolled-back-"

# Unlike what an export leaves that is written here.
_STAGING = ".pushing-"


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--base_path",
        type=cli.local_path,
        required=True,
        help="folder of the versions, as the server is given it",
    )
    parser.add_argument("--model", type=cli.local_path, help="the export")
    parser.add_argument(
        "--blessing",
        type=cli.local_path,
        help="its verdict, from python -m stftgan_tf.evaluate --blessing",
    )
    parser.add_argument(
        "--unblessed",
        action="store_true",
        help="push whatever the verdict is, or without one; it is written "
        "down in the record",
    )
    parser.add_argument(
        "--compared",
        action="store_true",
        help="only push what was compared with the version blessed last there "
        "(python -m stftgan_tf.evaluate --last_blessed)",
    )
    parser.add_argument(
        "--keep",
        type=int,
        default=3,
        help="versions that stay, the newest ones (default: 3)",
    )
    parser.add_argument(
        "--rollback",
        action="store_true",
        help="take the newest version away, so that servers go back to the "
        "one before",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    if args.rollback:
        if args.model or args.blessing or args.unblessed or args.compared:
            raise UsageError("--rollback takes --base_path and no model")
        print(roll_back(args.base_path))
        return 0
    if not args.model or not (args.blessing or args.unblessed):
        raise UsageError(
            "expected --model and --blessing (or --unblessed), or --rollback"
        )
    if args.keep < 1:
        raise UsageError(f"--keep is {args.keep}; expected at least 1")
    made = push(
        args.model,
        args.blessing,
        args.base_path,
        args.keep,
        args.unblessed,
        args.compared,
    )
    print(made)
    return 0


def push(
    model: Path,
    verdict: Path | None,
    base_path: Path,
    keep: int = 3,
    unblessed: bool = False,
    compared: bool = False,
) -> Path:
    """Publishes an export; returns the version's folder.

    If the newest version is this very export, it stays the newest: a push
    that was killed at its end can be done again.

    Args:
      model: the export.
      verdict: folder of its verdict; may be None if `unblessed`.
      base_path: folder of the versions.
      keep: how many of the newest stay.
      unblessed: whether a model that is not blessed is pushed.
      compared: whether its verdict must be next to the version blessed last.

    Raises:
      UserError: if it is no export, or neither blessed nor `unblessed`.
    """
    if not (model / "saved_model.pb").is_file():
        raise UserError(f"{model} is no export (no saved_model.pb)")
    record = _record(model, verdict, unblessed)
    base_path.mkdir(parents=True, exist_ok=True)
    with locked(base_path / ".lock"):
        # What killed pushes left; nobody else holds the lock.
        for left in base_path.glob(f"{_STAGING}*"):
            shutil.rmtree(left, ignore_errors=True)
        versions = _versions(base_path)
        newest = max(versions, default=0)
        if newest and _is_there(record, versions[newest]):
            _prune(base_path, keep)
            return versions[newest]
        if not record["unblessed"]:
            problem = _not_compared(record["verdict"], base_path, compared)
            if problem and not unblessed:
                raise UserError(f"{model} is not blessed: {problem}")
            record["unblessed"] = problem or False
        version = max([newest, *_rolled_back(base_path)]) + 1
        target = base_path / str(version)
        staging = base_path / f"{_STAGING}{version}"
        shutil.copytree(model, staging)
        # The verdict is on what was there when it was looked at.
        if directory_digest(staging) != record["digest"]:
            shutil.rmtree(staging)
            raise UserError(f"{model} was changed meanwhile; try again")
        text = json.dumps({"version": version, **record}, indent=1) + "\n"
        (staging / blessing.PUSHED).write_text(text, encoding="utf-8")
        _to_disk(staging)
        staging.rename(target)
        _prune(base_path, keep)
    return target


def last_blessed(base_path: Path) -> Path | None:
    """The newest version that was blessed, if any."""
    for _, path in sorted(_versions(base_path).items(), reverse=True):
        file = path / blessing.PUSHED
        # What says nothing of it is not known to be blessed.
        if file.is_file() and not lineage.read(file).get("unblessed", True):
            return path
    return None


def _not_compared(
    verdict: dict[str, Any], base_path: Path, asked: bool
) -> str | None:
    """What is wrong if the verdict is not next to the version blessed last.

    One that was compared with none passes, unless comparison is `asked` for.
    """
    last, compared = last_blessed(base_path), verdict.get("last_digest")
    if last is None or (compared is None and not asked):
        return None
    if blessing.read(last)["digest"] == compared:
        return None
    return (
        f"its verdict was not compared with {last}, the version blessed last; "
        "evaluate again (pipeline.run --from=evaluate)"
    )


def _prune(base_path: Path, keep: int) -> None:
    """Removes all but the newest; a version is never there in part."""
    versions = _versions(base_path)
    for old in sorted(versions)[:-keep]:
        leaving = base_path / f"{_STAGING}{old}"
        versions[old].rename(leaving)
        shutil.rmtree(leaving)


def roll_back(base_path: Path) -> Path:
    """Takes the newest version away; returns the one that is newest now.

    Raises:
      UserError: if there are not two versions.
    """
    if not base_path.is_dir():
        raise UserError(f"{base_path} is no folder")
    with locked(base_path / ".lock"):
        versions = _versions(base_path)
        found = sorted(versions)
        if len(found) < 2:
            raise UserError(
                f"{base_path} holds {len(found)} versions; expected another "
                "one to go back to"
            )
        newest = versions[found[-1]]
        newest.rename(base_path / f"{_ROLLED_BACK}{found[-1]}")
    return versions[found[-2]]


def _record(
    model: Path, folder: Path | None, unblessed: bool
) -> dict[str, Any]:
    """What is told of a version.

    Raises:
      UserError: if it may not be pushed.
    """
    digest = directory_digest(model)
    verdict = blessing.read(folder) if folder else None
    now = datetime.datetime.now(datetime.timezone.utc)
    record = {
        "pushed": now.isoformat(timespec="seconds"),
        "model": str(model),
        "digest": digest,
        "unblessed": False,
        "verdict": verdict,
    }
    problem = None
    if verdict is None:
        problem = "it has no verdict"
    elif verdict["digest"] != digest:
        problem = f"the verdict in {folder} is of another export"
    elif not verdict["blessed"]:
        problem = "; ".join(verdict["reasons"])
    if problem and not unblessed:
        raise UserError(f"{model} is not blessed: {problem}")
    return record | {"unblessed": problem or False}


def _is_there(record: dict[str, Any], version: Path) -> bool:
    """Whether a version is of this export, and blessed as it is."""
    try:
        text = (version / blessing.PUSHED).read_text(encoding="utf-8")
        pushed = json.loads(text)
        names = ("digest", "unblessed")
        return all(pushed[name] == record[name] for name in names)
    except (OSError, KeyError, TypeError, ValueError):
        return False


def _versions(base_path: Path) -> dict[int, Path]:
    """Versions by number; their names may begin with zeros."""
    return {
        int(path.name): path
        for path in base_path.glob("*")
        if re.fullmatch(r"[0-9]{1,18}", path.name) and path.is_dir()
    }


def _rolled_back(base_path: Path) -> list[int]:
    names = [path.name for path in base_path.glob(f"{_ROLLED_BACK}*")]
    return [int(name.removeprefix(_ROLLED_BACK)) for name in names]


def _to_disk(folder: Path) -> None:
    """Before the rename: a version must not be there without its files."""
    for path in [folder, *folder.rglob("*")]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


if __name__ == "__main__":
    sys.exit(main())
