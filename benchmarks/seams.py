"""Measures whether the seams of long audio differ from its surroundings.

Long audio joins windows that overlap by half. Around the places where a window
ends, the step of energy (dB from one frame to the next) and the spectral flux
(mean change of a bin's log-magnitude in dB) are compared with those of all
other frames of long audio, and with real speech. An audible seam would exceed
the range of real speech.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from pipeline.audio import reading
from pipeline.audio.errors import AudioError
from pipeline.sources import recordings as sources
from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.dsp import stft
from stftgan_tf.saved_model import loading

EXAMPLE = (
    "python benchmarks/seams.py --model exports/speech --source LibriSpeech"
)

_PERCENTILES = (50, 90, 95, 99)

# Number of recordings to compare with, spread evenly over the source.
_RECORDINGS = 50

# Frames this far below the loudest one are pauses, whose steps are noise.
_PAUSE_DB = 40.0


def changes(samples: np.ndarray, config: Config) -> tuple:
    """Energy steps, flux, and whether the frames are audible, each [T - 1]."""
    logs = stft.log_spectrogram(samples, config)
    logs = logs * (20 / np.log(10))
    level = 10 * np.log10(np.sum(10 ** (logs / 10), axis=1))
    audible = level > level.max() - _PAUSE_DB
    steps = np.abs(np.diff(level))
    flux = np.abs(np.diff(logs, axis=0)).mean(axis=1)
    return steps, flux, audible[1:] & audible[:-1]


def seams(config: Config, frames: int) -> np.ndarray:
    """Whether a window begins or ends near each frame, bool [frames]."""
    near = np.zeros(frames, bool)
    half = max(1, config.window.frames // 2)
    for place in range(half, frames, half):
        # A sample affects this number of frames.
        around = config.stft.frame_length // config.stft.frame_step
        near[max(0, place - around) : place + around] = True
    return near


def row(name: str, values: list[np.ndarray]) -> str:
    """Percentiles over several pieces of audio, as a line of the table."""
    percentiles = np.percentile(np.concatenate(values), _PERCENTILES)
    return f"{name:24s}" + "".join(f"{value:9.2f}" for value in percentiles)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--model", type=Path, required=True, metavar="DIR", help="an export"
    )
    parser.add_argument(
        "--source", required=True, help="directory of real recordings"
    )
    parser.add_argument(
        "--num",
        type=int,
        default=64,
        help="number of long samples (default: 64)",
    )
    return cli.run_command(_run, parser.parse_args(argv))


def _run(args: argparse.Namespace) -> int:
    model = loading.load(args.model)
    config = config_lib.from_dict(model.metadata["config"])
    values: dict[str, list] = {}

    def add(name: str, steps: np.ndarray, flux: np.ndarray) -> None:
        values.setdefault(f"energy step, {name}", []).append(steps)
        values.setdefault(f"flux, {name}", []).append(flux)

    recordings = sources.open_source(args.source, config.audio).recordings
    for recording in recordings[:: max(1, len(recordings) // _RECORDINGS)]:
        try:
            level, *_ = reading.measure(recording.path, config.audio)
            samples = reading.read(
                recording.path, config.audio, 0, level.samples, 0, level
            )
        except AudioError:
            continue
        gain = np.float32(reading.gain(level, config.audio))
        if level.samples < config.stft.frame_length:
            continue
        steps, flux, audible = changes(samples * gain, config)
        add("real", steps[audible], flux[audible])
    for batch in model.batches(0, args.num, 8, long=True):
        for samples in batch["audio"]:
            steps, flux, audible = changes(samples, config)
            near = seams(config, len(steps))
            # Both ends fade, which is not a seam.
            edge = config.stft.frame_length // config.stft.frame_step
            audible[:edge] = audible[-edge:] = False
            add("elsewhere", steps[audible & ~near], flux[audible & ~near])
            add("seams", steps[audible & near], flux[audible & near])
    print(f"{'dB, percentiles':24s}" + "".join(f"{q:9d}" for q in _PERCENTILES))
    for name in sorted(values):
        print(row(name, values[name]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
