"""Quality and time of phase from magnitudes: ours against librosa's.

Magnitudes of real speech, without their phase, are turned into audio again:
whole excerpts, and windows as short as the model's. Spectral convergence is how
far the result's magnitudes are from the given ones; PESQ and STOI compare with
the recording. Every excerpt is done alone; the time is the sum's median over
rounds, the methods in turns.

    python benchmarks/phase.py --source LibriSpeech --config speech16k
    python benchmarks/phase.py --source recordings --config digits8k --secs 0.5
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

# Magnitudes [T, F + 1] or, for librosa, samples -> samples.
Method = Callable[[np.ndarray], np.ndarray]


def excerpts(args: argparse.Namespace, config: Config, secs: float):
    """float32 [N] from the middles of recordings long enough, spread evenly."""
    count = int(secs * config.audio.sample_rate_hz)
    # Whole frames, so that every sample is under as many.
    step, length = config.stft.frame_step, config.stft.frame_length
    count = (count - length) // step * step + length
    source = sources.open_source(args.source, config.audio)
    found = []
    for recording in source.recordings:
        try:
            seen, *_ = reading.measure(recording.path, config.audio)
        except AudioError:
            continue
        if seen.samples >= count:
            found.append((recording.path, seen))
    if not found:
        raise UserError(
            f"{args.source} has no recording of {count} samples at "
            f"{config.audio.sample_rate_hz} Hz; try a smaller --secs"
        )
    chosen = found[:: max(1, len(found) // args.recordings)][: args.recordings]
    for path, seen in chosen:
        start = (seen.samples - count) // 2
        samples = reading.read(path, config.audio, start, start + count)
        yield samples * reading.gain(seen, config.audio)


def ours(config: Config, iterations: int) -> Method:
    """The graph that an export holds."""

    @tf.function(reduce_retracing=True)
    def graph(magnitudes):
        return phase.griffin_lim(magnitudes, config.stft, iterations)

    def method(samples):
        magnitudes = np.abs(stft.forward(samples, config.stft))
        return graph(tf.constant(magnitudes[None])).numpy()[0]

    return method


def heaps(config: Config, iterations: int) -> Method:
    """From heap integration, offline; numba compiles it."""

    def method(samples):
        magnitudes = np.abs(stft.forward(samples, config.stft))[None]
        start = pghi.integrated(magnitudes, config.stft)
        made = phase.griffin_lim(magnitudes, config.stft, iterations, start)
        return made.numpy()[0]

    return method


def librosas(config: Config, iterations: int) -> Method:
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


def convergence_db(got: np.ndarray, samples: np.ndarray, config: Config):
    """Spectral convergence."""
    wanted, found = (
        np.abs(stft.forward(x, config.stft)) for x in (samples, got)
    )
    error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    return 20 * np.log10(error)


def heard(got: np.ndarray, samples: np.ndarray, rate: int):
    """(PESQ, STOI); NaN where a recording is too short for them."""
    mode = "wb" if rate == 16000 else "nb"
    try:
        quality = pesq.pesq(rate, samples, got, mode)
    except (pesq.NoUtterancesError, pesq.BufferTooShortError):
        quality = np.nan
    # It warns, and gives 1e-5, below 30 frames of speech.
    if len(samples) < rate:
        return quality, np.nan
    return quality, pystoi.stoi(samples, got, rate)


def table(args: argparse.Namespace, config: Config, secs: float) -> None:
    """Prints the rows for excerpts of one length."""
    waves = list(excerpts(args, config, secs))
    methods = {
        "librosa, 32": librosas(config, 32),
        "librosa, 100": librosas(config, 100),
        **{f"ours, {n}": ours(config, n) for n in args.iterations},
        **{f"heap, {n}": heaps(config, n) for n in (0, 8, 32)},
    }
    rate = config.audio.sample_rate_hz
    print(f"{len(waves)} excerpts of {len(waves[0]) / rate:.2f} s, {rate} Hz")
    print(
        f"{'iterations':16s}{'convergence dB':>16s}{'PESQ':>7s}{'STOI':>7s}"
        f"{'s':>8s}{'of librosa':>12s}"
    )
    secs_of: dict[str, list[float]] = {name: [] for name in methods}
    made = {}
    for turn in range(args.rounds + 1):
        for name, method in methods.items():
            start = time.perf_counter()
            made[name] = [method(wave) for wave in waves]
            # The first turn traces graphs.
            if turn:
                secs_of[name].append(time.perf_counter() - start)
    limit = statistics.median(secs_of["librosa, 32"])
    for name, found in made.items():
        # A window's audio fades within a frame of its ends; librosa pads there.
        inner = slice(config.stft.frame_length, -config.stft.frame_length)
        pairs = [
            (g[inner], w[inner]) for g, w in zip(found, waves, strict=True)
        ]
        level = np.mean([convergence_db(g, w, config) for g, w in pairs])
        quality = np.mean([heard(g, w, rate) for g, w in pairs], axis=0)
        spent = statistics.median(secs_of[name])
        print(
            f"{name:16s}{level:16.1f}{quality[0]:7.2f}{quality[1]:7.3f}"
            f"{spent:8.2f}{spent / limit:12.2f}",
            flush=True,
        )


def main() -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", required=True, help="recordings")
    parser.add_argument("--secs", type=float, default=6.0)
    parser.add_argument("--recordings", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--iterations", type=int, nargs="+", default=[0, 8, 12, 16, 32]
    )
    config_lib.add_arguments(parser, default="speech16k")
    return cli.run_command(_run, parser.parse_args())


def _run(args: argparse.Namespace) -> int:
    config = config_lib.load(args.config, args.set)
    if args.print_config:
        return config_lib.print_config(config)
    if min(args.rounds, args.recordings) < 1:
        raise UsageError("--rounds and --recordings: expected at least 1")
    window = config.window_samples / config.audio.sample_rate_hz
    for secs in dict.fromkeys((args.secs, window)):
        table(args, config, secs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
