"""Compares quality and time of phase reconstruction with librosa.

Magnitudes of real speech are converted to audio without their phase: whole
excerpts, and excerpts as short as a window of the model. Spectral convergence
measures how far the magnitudes of the result are from the given ones; PESQ and
STOI compare with the recording. Methods take turns; the time is the median over
rounds of the sum over all excerpts.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import librosa
import numpy as np
import pesq
import pystoi
import tensorflow as tf

from pipeline.audio import reading
from pipeline.audio.errors import AudioError
from pipeline.sources import recordings as sources
from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.dsp import pghi, phase, stft
from stftgan_tf.errors import UsageError, UserError

EXAMPLE = (
    "python benchmarks/phase.py --source recordings --config digits8k "
    "--secs 0.5"
)

# Reconstructs samples [N] from the magnitudes of samples [N].
Method = Callable[[np.ndarray], np.ndarray]


def excerpts(args: argparse.Namespace, config: Config, secs: float):
    """Yields float32 [N] from the middle of evenly spread recordings."""
    count = int(secs * config.audio.sample_rate_hz)
    # Whole frames, so that the same number of frames overlap everywhere.
    step, length = config.stft.frame_step, config.stft.frame_length
    count = (count - length) // step * step + length
    source = sources.open_source(args.source, config.audio)
    candidates = []
    for recording in source.recordings:
        try:
            level, *_ = reading.measure(recording.path, config.audio)
        except AudioError:
            continue
        if level.samples >= count:
            candidates.append((recording.path, level))
    if not candidates:
        raise UserError(
            f"{args.source} has no recording of {count} samples at "
            f"{config.audio.sample_rate_hz} Hz; try a smaller --secs"
        )
    stride = max(1, len(candidates) // args.recordings)
    for path, level in candidates[::stride][: args.recordings]:
        start = (level.samples - count) // 2
        stop = start + count
        samples = reading.read(path, config.audio, start, stop, 0, level)
        yield samples * reading.gain(level, config.audio)


def in_graph(config: Config, iterations: int) -> Method:
    """The phase reconstruction in the graph of an export."""

    @tf.function(reduce_retracing=True)
    def graph(magnitudes):
        return phase.griffin_lim(magnitudes, config.stft, iterations)

    def method(samples):
        magnitudes = np.abs(stft.forward(samples, config.stft))
        return graph(tf.constant(magnitudes[None])).numpy()[0]

    return method


def export(config: Config) -> Method:
    """All that an export does with log-magnitudes, which have a floor."""

    @tf.function(reduce_retracing=True)
    def graph(logs):
        magnitudes = stft.inverse_log_magnitude(logs, config)
        return phase.magnitudes_to_audio(magnitudes, config)

    def method(samples):
        logs = stft.log_magnitude(stft.forward(samples, config.stft), config)
        return graph(tf.constant(logs[None])).numpy()[0]

    return method


def heap_integration(config: Config, iterations: int) -> Method:
    """Heap integration, offline; numba compiles it if installed."""

    def method(samples):
        magnitudes = np.abs(stft.forward(samples, config.stft))[None]
        unit = pghi.integrated(magnitudes, config.stft)
        start = unit.real, unit.imag
        audio = phase.griffin_lim(magnitudes, config.stft, iterations, start)
        return audio.numpy()[0]

    return method


def by_librosa(config: Config, iterations: int) -> Method:
    """librosa's fast Griffin-Lim (Perraudin et al. 2013, momentum .99)."""
    shape = {
        "hop_length": config.stft.frame_step,
        "n_fft": config.stft.frame_length,
    }

    def method(samples):
        magnitudes = np.abs(librosa.stft(samples, **shape))
        return librosa.griffinlim(
            magnitudes,
            n_iter=iterations,
            length=len(samples),
            random_state=0,
            **shape,
        )

    return method


def convergence_db(result: np.ndarray, samples: np.ndarray, config: Config):
    """Spectral convergence (Sturmel & Daudet 2011)."""
    expected, actual = (
        np.abs(stft.forward(x, config.stft)) for x in (samples, result)
    )
    error = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
    return 20 * np.log10(error)


def speech_quality(result: np.ndarray, samples: np.ndarray, rate: int):
    """(PESQ, STOI), NaN for excerpts that are too short."""
    mode = "wb" if rate == 16000 else "nb"
    try:
        quality = pesq.pesq(rate, samples, result, mode)
    except (pesq.NoUtterancesError, pesq.BufferTooShortError):
        quality = np.nan
    # With less than 30 frames of speech STOI warns and returns 1e-5.
    if len(samples) < rate:
        return quality, np.nan
    return quality, pystoi.stoi(samples, result, rate)


def table(args: argparse.Namespace, config: Config, length: float) -> None:
    """Prints the table for excerpts of one length."""
    waves = list(excerpts(args, config, length))
    methods = {
        "librosa, 32": by_librosa(config, 32),
        "librosa, 100": by_librosa(config, 100),
        **{f"graph, {n}": in_graph(config, n) for n in args.iterations},
        **{f"pghi, {n}": heap_integration(config, n) for n in (0, 8, 32)},
        "export": export(config),
    }
    rate = config.audio.sample_rate_hz
    print(f"{len(waves)} excerpts of {len(waves[0]) / rate:.2f} s, {rate} Hz")
    print(
        f"{'iterations':16s}{'convergence dB':>16s}{'PESQ':>7s}{'STOI':>7s}"
        f"{'s':>8s}{'/ librosa':>12s}"
    )
    secs_of: dict[str, list[float]] = {name: [] for name in methods}
    audio = {}
    for turn in range(args.rounds + 1):
        for name, method in methods.items():
            start = time.perf_counter()
            audio[name] = [method(wave) for wave in waves]
            # The first round traces graphs.
            if turn:
                secs_of[name].append(time.perf_counter() - start)
    reference = statistics.median(secs_of["librosa, 32"])
    for name, results in audio.items():
        # Ours fades within a frame of both ends, where librosa pads.
        inner = slice(config.stft.frame_length, -config.stft.frame_length)
        pairs = [
            (g[inner], w[inner]) for g, w in zip(results, waves, strict=True)
        ]
        level = np.mean([convergence_db(g, w, config) for g, w in pairs])
        quality = np.mean(
            [speech_quality(g, w, rate) for g, w in pairs], axis=0
        )
        secs = statistics.median(secs_of[name])
        print(
            f"{name:16s}{level:16.1f}{quality[0]:7.2f}{quality[1]:7.3f}"
            f"{secs:8.2f}{secs / reference:12.2f}",
            flush=True,
        )


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--source", required=True, help="directory of recordings"
    )
    parser.add_argument(
        "--secs",
        type=float,
        default=6.0,
        help="duration of an excerpt (default: 6)",
    )
    parser.add_argument(
        "--recordings",
        type=int,
        default=12,
        help="number of excerpts (default: 12)",
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="timed rounds (default: 5)"
    )
    parser.add_argument(
        "--iterations",
        type=int,
        nargs="+",
        default=[0, 8, 12, 16, 32],
        help="Griffin-Lim iterations (default: 0 8 12 16 32)",
    )
    config_lib.add_arguments(parser, default="speech16k")
    return cli.run_command(_run, parser.parse_args(argv))


def _run(args: argparse.Namespace) -> int:
    config = config_lib.load(args.config, args.set)
    if args.print_config:
        return config_lib.print_config(config)
    if min(args.rounds, args.recordings) < 1:
        raise UsageError("--rounds and --recordings: expected at least 1")
    window = config.window_samples / config.audio.sample_rate_hz
    for length in dict.fromkeys((args.secs, window)):
        table(args, config, length)
    return 0


if __name__ == "__main__":
    sys.exit(main())
