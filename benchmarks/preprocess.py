"""Real time of preprocessing: ours against a bare loop and the usual Beam job.

Rows, in turns so that a drifting machine slows all: a plain loop over files
(soundfile, SciPy's STFT, hand-packed records, TFRecord) in one and in two
processes, which is the limit; decode -> window -> WriteToTFRecord as Beam jobs
are usually written; ours in one and in two processes. Each is a process of its
own, whose start-up (the same job of one recording) is shown and taken off.
Then what a worker loads, and peak memory against the length of a recording and
the number of files.

    python benchmarks/preprocess.py --source recordings --config speech16k
"""

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import apache_beam as beam
import numpy as np
import soundfile

from pipeline.audio import reading
from pipeline.beam import segments
from pipeline.sources import recordings as sources
from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import records as example_io
from stftgan_tf.dsp import stft


def windows_of(path: str, config: Config):
    """(index, window [T, F]) of a file; nothing is checked or dropped."""
    samples, _ = soundfile.read(path, dtype="float32")
    count, offset = segments.window_grid(len(samples), config)
    size, stride = config.window_samples, config.stride_samples
    padded = np.zeros(size + (count - 1) * stride, np.float32)
    low = max(0, -offset)
    kept = samples[low : low + len(padded) - max(0, offset)]
    padded[max(0, offset) :][: len(kept)] = kept
    stfts = stft.forward(padded, config.stft)
    logs = stft.log_magnitude(stfts, config)
    for index in range(count):
        start = index * config.window.stride_frames
        yield index, logs[start : start + config.window.frames]


def record_of(path: str, index: int, window: np.ndarray, config: Config):
    """One encoded record."""
    return example_io.encode(
        {
            "window": window,
            "window_index": index,
            "label": -1,
            "sample_rate_hz": config.audio.sample_rate_hz,
            "recording_id": path.encode(),
            "speaker": b"",
            "dataset": b"plain",
        }
    )


def write_plainly(job: tuple[list[str], str, Config]) -> None:
    """The bare loop over some files, into one shard."""
    paths, target, config = job
    with open(target, "wb") as file:
        writer = example_io.ShardWriter(file)
        for path in paths:
            for index, window in windows_of(path, config):
                writer.write(record_of(path, index, window, config))


def run_plain(paths: list[str], folder: str, config: Config, processes: int):
    """The bare loop on so many processes."""
    jobs = [
        (paths[i::processes], f"{folder}/{i}", config) for i in range(processes)
    ]
    if processes == 1:
        write_plainly(jobs[0])
        return
    with multiprocessing.Pool(processes) as pool:
        pool.map(write_plainly, jobs)


def run_usual(paths: list[str], folder: str, config: Config) -> None:
    """The Beam job as it is usually written: windows are its elements."""

    def records(path):
        for index, window in windows_of(path, config):
            yield record_of(path, index, window, config)

    options = beam.options.pipeline_options.PipelineOptions(
        ["--runner=DirectRunner"]
    )
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | beam.Create(paths)
            | beam.Reshuffle()
            | beam.FlatMap(records)
            | beam.io.WriteToTFRecord(f"{folder}/shard", num_shards=8)
        )


ROWS = {
    "plain loop, 1 process": None,
    "plain loop, 2 processes": None,
    "usual Beam job": None,
    "ours, DirectRunner": ["--runner=DirectRunner"],
    "ours, 2 processes": [
        "--runner=FnApiRunner",
        "--direct_running_mode=multi_processing",
        "--direct_num_workers=2",
    ],
}


def run_row(name: str, args: argparse.Namespace, folder: str) -> None:
    """One row, in this process."""
    config = config_lib.load(args.config, args.set)
    source = sources.open_source(args.source, config.audio, args.pattern)
    paths = [r.path for r in source.recordings]
    if name == "usual Beam job":
        run_usual(paths, folder, config)
    else:
        run_plain(paths, folder, config, 2 if "2" in name else 1)


def command(name: str, args: argparse.Namespace, pattern: str, folder: str):
    """What runs a row as a process of its own."""
    more = [f"--set={text}" for text in args.set]
    more += [f"--config={args.config}", f"--source={args.source}"]
    more.append(f"--pattern={pattern}")
    flags = ROWS[name]
    if flags is None:
        return [sys.executable, __file__, *more, f"--row={name}={folder}"]
    return [
        *(sys.executable, "-m", "pipeline.preprocess", *flags, *more),
        *(f"--output={folder}/out", "--max_bad_fraction=0"),
    ]


def seconds(name: str, args: argparse.Namespace, pattern: str) -> float:
    """Wall-clock seconds of a row."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            command(name, args, pattern, folder),
            check=True,
            capture_output=True,
        )
        return time.perf_counter() - start


def compare(args: argparse.Namespace) -> None:
    """Prints the table of speeds."""
    config = config_lib.load(args.config, args.set)
    source = sources.open_source(args.source, config.audio)
    found = [reading.measure(r.path, config.audio)[0] for r in source.recordings]
    rate = config.audio.sample_rate_hz
    total = sum(seen.samples for seen in found) / rate
    one = source.recordings[0].name
    print(f"{len(found)} recordings, {total:.0f} s")
    print(f"{'':26s}{'start-up s':>12s}{'net s':>8s}{'x real time':>13s}")
    times = {name: ([], []) for name in ROWS}
    for _ in range(args.rounds):
        for name, (start_up, whole) in times.items():
            start_up.append(seconds(name, args, one))
            whole.append(seconds(name, args, "*"))
    for name, (start_up, whole) in times.items():
        begun = statistics.median(start_up)
        net = statistics.median(whole) - begun
        print(f"{name:26s}{begun:12.2f}{net:8.2f}{total / net:13.0f}")


def show_worker() -> None:
    """Prints what a worker process loads, and how long that takes."""
    code = (
        "import time; start = time.perf_counter(); import pipeline.transforms;"
        "import sys, resource; print(round(time.perf_counter() - start, 2), "
        "len(sys.modules), sorted({'tensorflow', 'keras'} & set(sys.modules)),"
        "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    secs, modules, heavy, size = done.stdout.strip().split(" ", 3)
    print(
        f"a worker loads {modules} modules in {secs} s, {size} MB; "
        f"of TensorFlow and Keras: {heavy}"
    )


def peak_mb(source: Path, config: str) -> tuple[float, float, int]:
    """(peak MB of the largest process, seconds, windows) of our job."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:],"
        "check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "out")
        start = time.perf_counter()
        done = subprocess.run(
            [
                *(sys.executable, "-c", code),
                *(sys.executable, "-m", "pipeline.preprocess"),
                *("--runner=DirectRunner", f"--config={config}"),
                *(f"--source={source}", f"--output={output}"),
                "--set=split.eval_fraction=0",
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        secs = time.perf_counter() - start
        manifest = json.loads((output / "manifest.json").read_text())
    return int(done.stdout) / 1024, secs, manifest["windows"]["train"]


def show_memory(args: argparse.Namespace) -> None:
    """Prints peak memory for long recordings and for many."""
    config = config_lib.load(args.config, args.set)
    rate = config.audio.sample_rate_hz
    source = sources.open_source(args.source, config.audio)
    speech = []
    for recording in source.recordings[:60]:
        (seen,) = reading.measure(recording.path, config.audio)
        path, length = recording.path, seen.samples
        speech.append(reading.read(path, config.audio, 0, length))
    speech = np.concatenate(speech)
    print(f"{'':26s}{'peak MB':>10s}{'s':>8s}{'windows':>10s}")
    for hours in (0.1, 1, 10):
        with tempfile.TemporaryDirectory() as folder:
            left = int(hours * 3600 * rate)
            path = Path(folder, "long.wav")
            with soundfile.SoundFile(path, "w", rate, 1) as file:
                while left > 0:
                    file.write(speech[:left])
                    left -= len(speech)
            print_memory(f"{hours:g} hours in one file", path.parent, args)
    for files in (1000, 10000, 100000):
        with tempfile.TemporaryDirectory() as folder:
            for index in range(files):
                start = 997 * index % (len(speech) - rate)
                part = speech[start : start + rate // 2]
                soundfile.write(f"{folder}/{index}.wav", part, rate)
            print_memory(f"{files} files", Path(folder), args)


def print_memory(name: str, source: Path, args: argparse.Namespace) -> None:
    """One row of the table of memory."""
    peak, secs, windows = peak_mb(source, args.config)
    print(f"{name:26s}{peak:10.0f}{secs:8.1f}{windows:10d}", flush=True)


def main() -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", required=True, help="recordings, one rate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="only memory")
    parser.add_argument("--pattern", default="*", help=argparse.SUPPRESS)
    parser.add_argument("--row", help=argparse.SUPPRESS)
    config_lib.add_arguments(parser, default="speech16k")
    return cli.run_command(_run, parser.parse_args())


def _run(args: argparse.Namespace) -> int:
    config = config_lib.load(args.config, args.set)
    if args.print_config:
        return config_lib.print_config(config)
    if args.row:
        name, _, folder = args.row.partition("=")
        run_row(name, args, folder)
        return 0
    show_worker()
    if args.memory:
        show_memory(args)
    else:
        compare(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
