"""Times preprocessing against a bare loop and a Beam job written as usual.

Rows, which take turns because the machine's speed drifts: a plain loop over
files (soundfile, SciPy's STFT, records, TFRecord) in one and in two processes,
which is the lower limit; a Beam job as it is usually written (decode, window,
WriteToTFRecord); ours in one and in two processes. With --runner flink: the
plain loop, DirectRunner, and a Flink cluster that runs on this machine, with
one and with two task managers. Each row runs in a new process, whose start-up
time (the same job with one recording) is shown and subtracted. Then what a
worker imports, and with --memory peak memory for long recordings and for many
files.
"""

import argparse
import contextlib
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
from stftgan_tf.data import records
from stftgan_tf.dsp import stft

EXAMPLE = (
    "python benchmarks/preprocess.py --source recordings --config speech16k"
)


def windows_of(path: str, config: Config):
    """Yields (index, window [T, F]) of a file, without any checks."""
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
    """Encodes one window."""
    return records.encode(
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
    """The bare loop: writes the windows of some files to one shard."""
    paths, target, config = job
    with open(target, "wb") as file:
        writer = records.ShardWriter(file)
        for path in paths:
            for index, window in windows_of(path, config):
                writer.write(record_of(path, index, window, config))


def run_plain(paths: list[str], directory: str, config: Config, processes: int):
    """Runs the bare loop in several processes."""
    jobs = [
        (paths[i::processes], f"{directory}/{i}", config)
        for i in range(processes)
    ]
    if processes == 1:
        write_plainly(jobs[0])
        return
    with multiprocessing.Pool(processes) as pool:
        pool.map(write_plainly, jobs)


def run_usual(paths: list[str], directory: str, config: Config) -> None:
    """Runs a Beam job as it is usually written: its elements are windows."""

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
            | beam.io.WriteToTFRecord(f"{directory}/shard", num_shards=8)
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


@contextlib.contextmanager
def rows_of(runner: str):
    """The rows to compare; for `flink`, while a cluster runs."""
    if runner == "direct":
        yield ROWS
        return
    # Not at the top: only this needs pytest, Java and root.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.cluster.flink import flink
    from tests.cluster.hosts import namespaces

    with (
        tempfile.TemporaryDirectory() as shared,
        namespaces(["master", "one", "two"], Path(shared)) as hosts,
        flink(hosts[0], hosts[1:], Path(shared, "logs")) as cluster,
    ):
        # Where the hosts see the outputs of the rows.
        tempfile.tempdir = shared
        yield {
            "plain loop, 1 process": None,
            "ours, DirectRunner": ROWS["ours, DirectRunner"],
            "Flink, 1 task manager": [*cluster.flags, "--parallelism=1"],
            "Flink, 2 task managers": cluster.flags,
        }
        tempfile.tempdir = None


def run_row(name: str, args: argparse.Namespace, directory: str) -> None:
    """Runs one row in this process."""
    config = config_lib.load(args.config, args.set)
    source = sources.open_source(args.source, config.audio, args.pattern)
    paths = [r.path for r in source.recordings]
    if name == "usual Beam job":
        run_usual(paths, directory, config)
    else:
        run_plain(paths, directory, config, 2 if "2" in name else 1)


def command(
    row: tuple[str, list[str] | None],
    args: argparse.Namespace,
    pattern: str,
    directory: str,
):
    """The command that runs a row (name, flags) in a new process."""
    name, flags = row
    more = [f"--set={text}" for text in args.set]
    more += [f"--config={args.config}", f"--source={args.source}"]
    more.append(f"--pattern={pattern}")
    if flags is None:
        return [sys.executable, __file__, *more, f"--row={name}={directory}"]
    return [
        *(sys.executable, "-m", "pipeline.preprocess", *flags, *more),
        *(f"--output={directory}/out", "--max_bad_fraction=0"),
    ]


def seconds(
    row: tuple[str, list[str] | None], args: argparse.Namespace, pattern: str
) -> float:
    """Wall-clock seconds of a row."""
    with tempfile.TemporaryDirectory() as directory:
        start = time.perf_counter()
        subprocess.run(
            command(row, args, pattern, directory),
            check=True,
            capture_output=True,
        )
        return time.perf_counter() - start


def compare(
    args: argparse.Namespace, rows: dict[str, list[str] | None]
) -> None:
    """Prints the table of speeds."""
    config = config_lib.load(args.config, args.set)
    source = sources.open_source(args.source, config.audio)
    levels = [
        reading.measure(r.path, config.audio)[0] for r in source.recordings
    ]
    rate = config.audio.sample_rate_hz
    total = sum(level.samples for level in levels) / rate
    one = source.recordings[0].name
    print(f"{len(levels)} recordings, {total:.0f} s")
    print(f"{'':26s}{'start-up s':>12s}{'net s':>8s}{'x real time':>13s}")
    times = {name: ([], []) for name in rows}
    for _ in range(args.rounds):
        for name, (start_up, whole) in times.items():
            start_up.append(seconds((name, rows[name]), args, one))
            whole.append(seconds((name, rows[name]), args, "*"))
    for name, (start_up, whole) in times.items():
        overhead = statistics.median(start_up)
        net = statistics.median(whole) - overhead
        print(f"{name:26s}{overhead:12.2f}{net:8.2f}{total / net:13.0f}")


def show_worker() -> None:
    """Prints what a worker process imports, and how long that takes."""
    code = (
        "import time; start = time.perf_counter();"
        "import pipeline.beam.transforms; import sys, resource;"
        "print(round(time.perf_counter() - start, 2), "
        "len(sys.modules), sorted({'tensorflow', 'keras'} & set(sys.modules)),"
        "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    secs, modules, heavy, size = done.stdout.strip().split(" ", 3)
    print(
        f"a worker imports {modules} modules in {secs} s, {size} MB; "
        f"among them {heavy} of TensorFlow and Keras"
    )


def peak_mb(source: Path, config: str) -> tuple[float, float, int]:
    """Peak MB of the largest process, seconds and windows of our job."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:],"
        "check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "out")
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
    """Prints peak memory for long recordings and for many files."""
    config = config_lib.load(args.config, args.set)
    rate = config.audio.sample_rate_hz
    source = sources.open_source(args.source, config.audio)
    speech = []
    for recording in source.recordings[:60]:
        (level,) = reading.measure(recording.path, config.audio)
        path, length = recording.path, level.samples
        speech.append(reading.read(path, config.audio, 0, length))
    speech = np.concatenate(speech)
    print(f"{'':26s}{'peak MB':>10s}{'s':>8s}{'windows':>10s}")
    for hours in (0.1, 1, 10):
        with tempfile.TemporaryDirectory() as directory:
            remaining = int(hours * 3600 * rate)
            path = Path(directory, "long.wav")
            with soundfile.SoundFile(path, "w", rate, 1) as file:
                while remaining > 0:
                    file.write(speech[:remaining])
                    remaining -= len(speech)
            print_memory(f"{hours:g} hours in one file", path.parent, args)
    for files in (1000, 10000, 100000):
        with tempfile.TemporaryDirectory() as directory:
            for index in range(files):
                start = 997 * index % (len(speech) - rate)
                part = speech[start : start + rate // 2]
                soundfile.write(f"{directory}/{index}.wav", part, rate)
            print_memory(f"{files} files", Path(directory), args)


def print_memory(name: str, source: Path, args: argparse.Namespace) -> None:
    """Prints one row of the memory table."""
    peak, secs, windows = peak_mb(source, args.config)
    print(f"{name:26s}{peak:10.0f}{secs:8.1f}{windows:10d}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--source",
        required=True,
        help="directory of recordings that have the same sample rate",
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="timed rounds (default: 5)"
    )
    parser.add_argument(
        "--runner",
        choices=("direct", "flink"),
        default="direct",
        help="rows to compare (default: direct)",
    )
    parser.add_argument(
        "--memory", action="store_true", help="only measure peak memory"
    )
    parser.add_argument("--pattern", default="*", help=argparse.SUPPRESS)
    parser.add_argument("--row", help=argparse.SUPPRESS)
    config_lib.add_arguments(parser, default="speech16k")
    return cli.run_command(_run, parser.parse_args(argv))


def _run(args: argparse.Namespace) -> int:
    config = config_lib.load(args.config, args.set)
    if args.print_config:
        return config_lib.print_config(config)
    if args.row:
        name, _, directory = args.row.partition("=")
        run_row(name, args, directory)
        return 0
    show_worker()
    if args.memory:
        show_memory(args)
    else:
        with rows_of(args.runner) as rows:
            compare(args, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
