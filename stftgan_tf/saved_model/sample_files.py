"""Writes samples as audio files, with a list and a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stftgan_tf import pictures
from stftgan_tf.progress import Progress
from stftgan_tf.saved_model import sample_dir, sampling
from stftgan_tf.saved_model.audio import encode
from stftgan_tf.saved_model.loading import LoadedModel
from stftgan_tf.saved_model.request import SampleRequest
from stftgan_tf.saved_model.sample_dir import LIST, PICTURE

# Windows in the picture, at most.
_MAX_WINDOWS = 64


def write(
    model: LoadedModel,
    requests: Sequence[SampleRequest],
    output: Path,
    kind: str,
) -> list[Path]:
    """Writes samples.json, the audio files and, for windows, grid.png.

    They replace all samples that an earlier call wrote to the directory.

    Args:
      model: generates the samples.
      requests: what to generate, all with the same phase.
      output: the directory; it appears by one rename.
      kind: `wav` or `flac`, with 16 bits per sample.

    Returns:
      The list, the first audio file and the picture, if there is one.

    Raises:
      UsageError, UserError: as `sampling.generate`, or if the directory
        contains anything but samples.
    """
    # Mistakes in any request are found before the first one runs.
    batches = [sampling.generate(model, request) for request in requests]
    total = sum(request.num for request in requests)
    progress = Progress("sample", total, "samples")
    rows, windows = [], []
    with sample_dir.published(output) as staging:
        for request, parts in zip(requests, batches, strict=True):
            for batch in parts:
                rows += _write_batch(batch, staging, request, kind, model)
                space = max(0, _MAX_WINDOWS - len(windows))
                windows += list(batch.get("window", []))[:space]
                progress.update(len(rows))
        names = [LIST, rows[0]["file"]]
        if windows:
            names.append(PICTURE)
            _draw(staging / PICTURE, windows, rows, model)
        sample_dir.write_list(staging, _list_of(requests[0].phase, model, rows))
    progress.close(len(rows))
    return [output / name for name in names]


def _draw(
    path: Path,
    windows: list[np.ndarray],
    rows: list[dict[str, Any]],
    model: LoadedModel,
) -> None:
    titles = [
        str(row.get("weight", row.get("seed"))) for row in rows[: len(windows)]
    ]
    rate_hz = model.sample_rate_hz
    secs = model.metadata["samples"] / rate_hz
    path.write_bytes(pictures.grid(np.stack(windows), secs, rate_hz, titles))


def _write_batch(
    batch: dict[str, Any],
    directory: Path,
    request: SampleRequest,
    kind: str,
    model: LoadedModel,
) -> list[dict[str, Any]]:
    """Writes the files of a batch and returns their rows of the list."""
    rows = []
    labels = batch.get("label", [None] * len(batch["audio"]))
    for index, audio in enumerate(batch["audio"]):
        origin, name = _origin(batch, index, request)
        if labels[index] is not None:
            origin["label"] = labels[index]
            name = f"{sample_dir.label_in_name(labels[index])}{name}"
        name = f"{_prefix(request)}{name}.{kind}"
        data = batch["wav_bytes"][index]
        if kind == "flac":
            data = encode(audio, model.sample_rate_hz, "flac")
        (directory / name).write_bytes(data)
        peak, rms = np.abs(audio).max(), np.sqrt(np.square(audio).mean())
        levels = {"peak": round(float(peak), 6), "rms": round(float(rms), 6)}
        rows.append({"file": name, **origin, **levels})
    return rows


def _origin(
    batch: dict[str, Any], index: int, request: SampleRequest
) -> tuple[dict[str, Any], str]:
    """The seed or seeds of a sample, for the list and for the file name."""
    if not request.interpolate:
        seed = int(batch["seed"][index])
        origin = {"seed": seed}
        if request.truncation != 1:
            origin["truncation"] = request.truncation
        if request.secs is not None:
            origin["secs"] = request.secs
        return origin, f"seed-{seed:06d}"
    first, last = request.interpolate
    weight = float(batch["weight"][index])
    origin = {"seeds": [first, last], "weight": round(weight, 6)}
    return origin, f"seed-{first:06d}-to-{last:06d}-at-{weight:.6f}"


def _prefix(request: SampleRequest) -> str:
    """What all file names say about the request."""
    prefix = "pghi-" if request.phase == "pghi" else ""
    if request.truncation != 1:
        prefix += f"truncation-{request.truncation:g}-"
    if request.secs is not None:
        prefix += f"secs-{request.secs:g}-"
    return prefix


def _list_of(
    phase: str, model: LoadedModel, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """The content of samples.json."""
    metadata = model.metadata
    return {
        "model": str(model.path),
        "step": metadata["step"],
        "sample_rate_hz": model.sample_rate_hz,
        "phase": phase,
        "samples": rows,
    }
