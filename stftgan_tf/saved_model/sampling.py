"""Generates the samples of a request, batch by batch."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.saved_model.audio import encode, shorten
from stftgan_tf.saved_model.loading import BATCH, LONG_BATCH, LoadedModel
from stftgan_tf.saved_model.request import SampleRequest


def generate(
    model: LoadedModel, request: SampleRequest
) -> Iterator[dict[str, Any]]:
    """Batches as `LoadedModel.batches` yields them; no `window` with `secs`.

    A batch also has `label`, a list of names, where the labels are known.

    Raises:
      UsageError: if the model cannot generate audio that long.
      UserError: if the model does not have the label. Both are raised at
        once, before the first batch is requested.
    """
    batches = _batches(model, request)
    return (_with_labels(batch, model, request) for batch in batches)


def _batches(
    model: LoadedModel, request: SampleRequest
) -> Iterator[dict[str, Any]]:
    num, labels = request.num, None
    if request.label is not None:
        labels = np.full(num, model.label_index(request.label))
    if request.secs is not None:
        _check_secs(model, request.secs)
        batches = model.batches(
            request.seed, num, LONG_BATCH, labels, long=True
        )
        return (_shortened(batch, request.secs, model) for batch in batches)
    if request.interpolate:
        batches = model.interpolation_batches(
            request.interpolate, _weights(request), BATCH, labels
        )
    else:
        batches = model.batches(
            request.seed, num, BATCH, labels, request.truncation
        )
    if request.phase == "export":
        return batches
    return (_with_pghi_phase(batch, model) for batch in batches)


def _weights(request: SampleRequest) -> np.ndarray:
    """Points between the two seeds of an interpolation, float32 [num]."""
    if request.weight is not None:
        return np.float32([request.weight])
    return np.linspace(0, 1, request.num, dtype=np.float32)


def _with_labels(
    batch: dict[str, Any], model: LoadedModel, request: SampleRequest
) -> dict[str, Any]:
    seeds = batch.get("seed")
    if request.interpolate:
        # The class of all points is that of the first seed.
        seeds = np.full(len(batch["weight"]), request.interpolate[0])
    names = model.label_names(seeds, request.label)
    return batch if names is None else {**batch, "label": names}


def num_audio_samples(model: LoadedModel, request: SampleRequest) -> int:
    """Length of each sample."""
    if request.secs is None:
        return model.metadata["samples"]
    return round(request.secs * model.sample_rate_hz)


def _check_secs(model: LoadedModel, secs: float) -> None:
    if not 1 / model.sample_rate_hz <= secs <= model.max_secs:
        raise UsageError(
            f"--secs is {secs}; {model.path} generates up to "
            f"{model.max_secs:.2f} (export it with a larger --secs)"
        )


def _shortened(
    batch: dict[str, Any], secs: float, model: LoadedModel
) -> dict[str, Any]:
    rate_hz = model.sample_rate_hz
    audio = shorten(batch["audio"], secs, rate_hz)
    wavs = [encode(row, rate_hz, "wav") for row in audio]
    return {"seed": batch["seed"], "audio": audio, "wav_bytes": wavs}


def _with_pghi_phase(
    batch: dict[str, Any], model: LoadedModel
) -> dict[str, Any]:
    """The same windows, with a phase by phase gradient heap integration."""
    # These load TensorFlow's signal processing, and numba if it is installed.
    from stftgan_tf import config as config_lib
    from stftgan_tf.dsp import pghi, phase, stft
    from stftgan_tf.dsp.moments import Moments

    if "moments" not in model.metadata:
        raise UserError(
            f"{model.path} does not contain its moments; export it again"
        )
    config = config_lib.from_dict(
        model.metadata["config"], source=str(model.path)
    )
    moments = Moments.from_dict(model.metadata["moments"])
    logs = moments.inverse_standardise(batch["window"])
    magnitudes = stft.inverse_log_magnitude(logs, config).numpy()
    unit = pghi.integrated(magnitudes, config.stft)
    start = unit.real, unit.imag
    audio = phase.magnitudes_to_audio(magnitudes, config, start).numpy()
    wavs = [encode(row, model.sample_rate_hz, "wav") for row in audio]
    return {**batch, "audio": audio, "wav_bytes": wavs}
