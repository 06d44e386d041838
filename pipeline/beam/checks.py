"""Checks of the source and the output before a job starts.

They make sure that no recording is overwritten and that a job does not fail
after hours for a reason that was known at its start.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline import storage
from pipeline.audio import opening, tfds_records
from pipeline.audio.errors import AudioError
from pipeline.sources import recordings as recordings_lib
from pipeline.sources.recordings import Recording
from stftgan_tf.config import AudioConfig
from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.files import locked, remove_leftovers


def default_output(source: str) -> str:
    """Where the data set of a source goes: tfrecords/<name of the source>."""
    return os.path.join("tfrecords", recordings_lib.source_name(source))


def check_output(output: str) -> None:
    """Raises UsageError if no directory can be put there by a rename."""
    problem = None
    if storage.is_remote(output):
        bucket = output.startswith(("s3://", "gs://"))
        if bucket and "/" not in output.rstrip("/").partition("://")[2]:
            problem = "a whole bucket"
    elif os.path.ismount(os.path.realpath(output)):
        problem = "a whole disk"
    elif os.path.islink(os.path.realpath(output)):
        problem = "a link to itself"
    if problem:
        raise UsageError(
            f"--output is {output}, which is {problem}; expected a directory"
        )


def check_source(source: str, output: str, config: AudioConfig) -> None:
    """Checks the name of a source, before any file is listed.

    Raises:
      UsageError: as `check_paths`.
      UserError: if the decoder is not installed.
    """
    if recordings_lib.is_path(source):
        check_paths([source], output, config)
    try:
        opening.check_decoder(config)
    except AudioError as error:
        raise UserError(str(error)) from error


def check_paths(paths: Iterable[str], output: str, config: AudioConfig) -> None:
    """Checks the files that a job will read.

    Args:
      paths: of all recordings; a manifest or a link can point anywhere.
      output: the data set to write.
      config: names the decoder.

    Raises:
      UsageError: if writing the output would overwrite a recording, or the
        decoder cannot read a path.
    """
    paths = [p for p in paths if not tfds_records.is_record_path(p)]
    remote = next(filter(storage.is_remote, paths), None)
    if config.decoder == "tfio" and remote:
        raise UsageError(
            f"audio.decoder is tfio, which cannot read remote files such as "
            f"{remote}; use --set audio.decoder=sndfile"
        )
    inside = next(_inside(paths, output), None)
    if inside:
        raise UsageError(
            f"the source {inside} is the same as --output {output} or is "
            "located inside it; choose another --output"
        )


def sample_of(recordings: Iterable[Recording]) -> str:
    """Path of the first local file; "" if there is none."""
    for recording in recordings:
        path = recording.path
        is_file = not tfds_records.is_record_path(path)
        if is_file and not storage.is_remote(path) and os.path.isfile(path):
            return path
    return ""


def _inside(paths: list[str], output: str) -> Iterator[str]:
    """The paths that are the output or are located inside it."""
    if storage.is_remote(output):
        start = f"{output.rstrip('/')}/"
        yield from (p for p in paths if f"{p.rstrip('/')}/".startswith(start))
    elif os.path.exists(output):
        target = os.path.realpath(output)
        for path in paths:
            if storage.is_remote(path):
                continue
            real = os.path.realpath(path)
            if os.path.commonpath([real, target]) == target:
                yield path


@contextlib.contextmanager
def output_lock(output: str) -> Iterator[None]:
    """Keeps other jobs from writing the same data set while the block runs.

    There is no lock for a remote output: object stores have none.

    Raises:
      UserError: if another job has the lock.
    """
    if storage.is_remote(output):
        yield
        return
    path = Path(os.path.realpath(output))
    path.parent.mkdir(parents=True, exist_ok=True)
    message = f"another job is writing {path}; wait for it to finish"
    with locked(path.parent / f".{path.name}.lock", message, remove=True):
        # Restores what a killed job was replacing, before anything is checked.
        remove_leftovers(path)
        yield
