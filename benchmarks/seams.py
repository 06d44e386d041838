"""Whether the joints of long audio can be told from what is around them.

Long audio joins windows half over one another. At the places where a window
ends and the next one is alone, the step of energy (dB from one frame to the
next) and the spectral flux (mean change of a bin's log-magnitude, dB) are
compared with those of all other frames of long audio, and of real speech. A
seam would stand out above real speech's range.

    python benchmarks/seams.py --model exports/speech --source LibriSpeech
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
from stftgan_tf.saved_model import loading as exported

_QUANTILES = (50, 90, 95, 99)

# Recordings that are compared with, spread evenly.
_RECORDINGS = 50

# Frames this far below the loudest one are pauses: their steps are noise.
_PAUSE_DB = 40.0


def changes(samples: np.ndarray, config: Config) -> tuple:
    """(energy steps [T - 1], flux [T - 1], whether it is heard [T - 1])."""
    logs = stft.log_spectrogram(samples, config)
    logs = logs * (20 / np.log(10))
    level = 10 * np.log10(np.sum(10 ** (logs / 10), axis=1))
    heard = level > level.max() - _PAUSE_DB
    steps = np.abs(np.diff(level))
    flux = np.abs(np.diff(logs, axis=0)).mean(axis=1)
    return steps, flux, heard[1:] & heard[:-1]


def joints(config: Config, frames: int) -> np.ndarray:
    """Whether a frame [T - 1] lies where a window begins or ends."""
    found = np.zeros(frames, bool)
    half = max(1, config.window.frames // 2)
    for place in range(half, frames, half):
        # As many frames as one sample is in.
        around = config.stft.frame_length // config.stft.frame_step
        found[max(0, place - around) : place + around] = True
    return found


def row(name: str, values: list[np.ndarray]) -> str:
    """Quantiles of what several pieces of audio give."""
    found = np.percentile(np.concatenate(values), _QUANTILES)
    return f"{name:24s}" + "".join(f"{value:9.2f}" for value in found)


def main() -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="an export")
    parser.add_argument("--source", required=True, help="real recordings")
    parser.add_argument("--num", type=int, default=64, help="long samples")
    return cli.run_command(_run, parser.parse_args())


def _run(args: argparse.Namespace) -> int:
    model = exported.load(args.model)
    config = config_lib.from_dict(model.metadata["config"])
    found: dict[str, list] = {}

    def add(name: str, steps: np.ndarray, flux: np.ndarray) -> None:
        found.setdefault(f"energy step, {name}", []).append(steps)
        found.setdefault(f"flux, {name}", []).append(flux)

    recordings = sources.open_source(args.source, config.audio).recordings
    for recording in recordings[:: max(1, len(recordings) // _RECORDINGS)]:
        try:
            seen, *_ = reading.measure(recording.path, config.audio)
            samples = reading.read(recording.path, config.audio, 0, seen.samples)
        except AudioError:
            continue
        gain = np.float32(reading.gain(seen, config.audio))
        if seen.samples < config.stft.frame_length:
            continue
        steps, flux, heard = changes(samples * gain, config)
        add("real", steps[heard], flux[heard])
    for batch in model.batches(0, args.num, 8, long=True):
        for samples in batch["audio"]:
            steps, flux, heard = changes(samples, config)
            at = joints(config, len(steps))
            # What fades at both ends is no joint.
            edge = config.stft.frame_length // config.stft.frame_step
            heard[:edge] = heard[-edge:] = False
            add("elsewhere", steps[heard & ~at], flux[heard & ~at])
            add("joints", steps[heard & at], flux[heard & at])
    print(
        f"{'dB, quantiles in %':24s}" + "".join(f"{q:9d}" for q in _QUANTILES)
    )
    for name in sorted(found):
        print(row(name, found[name]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
