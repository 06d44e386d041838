"""Writes samples as audio files, with a list and a picture."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from stftgan_tf import pictures
from stftgan_tf.files import write_atomically
from stftgan_tf.progress import Progress
from stftgan_tf.saved_model import sampling
from stftgan_tf.saved_model.audio import encode
from stftgan_tf.saved_model.loading import LoadedModel
from stftgan_tf.saved_model.request import SampleRequest

LIST, PICTURE = "samples.json", "grid.png"

# Windows in the picture, at most.
_MAX_WINDOWS = 64


def write(
    model: LoadedModel, request: SampleRequest, output: Path, kind: str
) -> list[Path]:
    """Writes samples.json, the audio files and, for windows, grid.png.

    Args:
      model: generates the samples.
      request: what to generate.
      output: the directory.
      kind: `wav` or `flac`, with 16 bits per sample.

    Returns:
      The list, the first audio file and the picture, if there is one.

    Raises:
      UsageError, UserError: as `sampling.generate`.
    """
    batches = sampling.generate(model, request)
    output.mkdir(parents=True, exist_ok=True)
    progress = Progress("sample", request.num, "samples")
    rows, windows = [], []
    for batch in batches:
        rows += _write_batch(batch, output, request, kind, model)
        space = max(0, _MAX_WINDOWS - len(windows))
        windows += list(batch.get("window", []))[:space]
        progress.update(len(rows))
    progress.close(len(rows))
    _write_list(output / LIST, request, model, rows)
    paths = [output / LIST, output / rows[0]["file"]]
    if windows:
        key = "weight" if request.interpolate else "seed"
        titles = [str(row[key]) for row in rows[: len(windows)]]
        picture = pictures.grid(np.stack(windows), titles)
        write_atomically(output / PICTURE, picture)
        paths.append(output / PICTURE)
    return paths


def _write_batch(
    batch: dict[str, Any],
    output: Path,
    request: SampleRequest,
    kind: str,
    model: LoadedModel,
) -> list[dict[str, Any]]:
    """Writes the files of a batch and returns their rows of the list."""
    rows = []
    for index, audio in enumerate(batch["audio"]):
        origin, name = _origin(batch, index, request)
        name = f"{_prefix(request, model)}{name}.{kind}"
        data = batch["wav_bytes"][index]
        if kind == "flac":
            data = encode(audio, model.sample_rate_hz, "flac")
        write_atomically(output / name, data)
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
        return {"seed": seed}, f"seed-{seed:06d}"
    first, last = request.interpolate
    weight = float(batch["weight"][index])
    origin = {"seeds": [first, last], "weight": round(weight, 6)}
    return origin, f"seed-{first:06d}-to-{last:06d}-at-{weight:.6f}"


def _prefix(request: SampleRequest, model: LoadedModel) -> str:
    """What the file names say about the request."""
    prefix = "pghi-" if request.phase == "pghi" else ""
    if request.truncation != 1:
        prefix += f"truncation-{request.truncation:g}-"
    if request.secs is not None:
        prefix += f"secs-{request.secs:g}-"
    if request.label is not None:
        label = model.metadata["labels"][model.label_index(request.label)]
        # A label may contain characters that a file name must not.
        prefix += "label-" + re.sub(r"[^\w-]", "_", label) + "-"
    return prefix


def _write_list(
    path: Path,
    request: SampleRequest,
    model: LoadedModel,
    rows: list[dict[str, Any]],
) -> None:
    metadata = model.metadata
    samples = {
        "model": str(model.path),
        "step": metadata["step"],
        "sample_rate_hz": model.sample_rate_hz,
        "phase": request.phase,
        "secs": request.secs or metadata["samples"] / model.sample_rate_hz,
        "samples": rows,
    }
    write_atomically(path, (json.dumps(samples, indent=1) + "\n").encode())
