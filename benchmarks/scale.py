"""Measures what preprocessing costs an hour of speech, and what it would need
for very large corpora.

First it preprocesses --source and counts what Beam shuffles. Then, for each
number of made-up names, a new process lists them, builds the job and writes the
manifest, and another one merges the made-up results of as many shards as that
much speech has. The last table extrapolates both to --hours.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import pickle
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path
from unittest import mock

import apache_beam as beam
import numpy as np
from apache_beam.coders import registry
from apache_beam.metrics import Metrics

from pipeline.audio import reading
from pipeline.beam import job, progress, shards, statistics, summary
from pipeline.beam import names as names_lib
from pipeline.sources import directory
from pipeline.sources import recordings as sources
from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config

EXAMPLE = "python benchmarks/scale.py --source LibriSpeech --config speech16k"

# Combined by the workers before it is shuffled.
_COMBINED = "Write shards/Windows"

# Names have the length of LibriSpeech's, below a directory with a usual path.
_ROOT = "/data/corpora/speech/LibriSpeech"
_NAME = "train-other-500/{0}/{1}/{0}-{1}-{2:07d}.flac"


@dataclasses.dataclass(frozen=True)
class Cost:
    """What an hour of speech costs.

    Attributes:
      names: number of recordings.
      shards: number of files of 64 MB that the windows fill.
      written: bytes of the windows.
      windows: number of windows.
      records: number of elements that are shuffled.
      shuffled: bytes of these.
      cpu_secs: CPU time without start-up.
    """

    names: float
    shards: float
    written: float
    windows: float
    records: float
    shuffled: float
    cpu_secs: float


@dataclasses.dataclass(frozen=True)
class Size:
    """What a number of names takes; memory in bytes, without the imports.

    Attributes:
      names: number of names.
      shards: number of shards.
      listed: of the driver once the names are listed.
      driver: of the driver, at most.
      merging: of the worker that merges the results, at most.
      graph: bytes of the job's graph.
      names_file: bytes of the file of names.
      manifest: bytes of manifest.json.
      secs: until the job starts.
    """

    names: int
    shards: int
    listed: int
    driver: int
    merging: int
    graph: int
    names_file: int
    manifest: int
    secs: float


class CountedGroupByKey:
    """Makes every GroupByKey count what it is given, and keeps the result."""

    def __init__(self):
        self._result = None

    @contextlib.contextmanager
    def installed(self):
        apply, run = beam.Pipeline.apply, beam.Pipeline.run

        def counted_apply(pipeline, transform, pvalue=None, label=None):
            # With a label, Beam sets it and calls this method again.
            if isinstance(transform, beam.GroupByKey) and not label:
                pvalue = self._count(pvalue)
            return apply(pipeline, transform, pvalue, label)

        def kept_run(pipeline, *args, **kwargs):
            self._result = run(pipeline, *args, **kwargs)
            return self._result

        with (
            mock.patch.object(beam.Pipeline, "apply", counted_apply),
            mock.patch.object(beam.Pipeline, "run", kept_run),
        ):
            yield

    def _count(self, pcollection):
        label = "/".join(pcollection.producer.full_label.split("/")[:2])
        kind = pcollection.element_type
        count = beam.ParDo(_Count(label, registry.get_coder(kind)))
        return pcollection | "Count" >> count.with_output_types(kind)

    def counts(self) -> dict[str, dict[str, int]]:
        """Records and bytes of each GroupByKey."""
        counts = collections.defaultdict(dict)
        for metric in self._result.metrics().query()["counters"]:
            name = metric.key.metric
            if name.namespace in ("records", "bytes"):
                counts[name.name][name.namespace] = metric.committed
        return dict(counts)


class _Count(beam.DoFn):
    def __init__(self, label, coder):
        self._coder = coder
        self._records = Metrics.counter("records", label)
        self._bytes = Metrics.counter("bytes", label)

    def process(self, element):
        self._records.inc()
        self._bytes.inc(len(self._coder.encode(element)))
        yield element


def cpu_secs() -> float:
    """CPU time of this process and of the ended ones that it started."""
    usages = map(
        resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_bytes() -> int:
    """Largest memory of this process so far.

    Unlike that of `getrusage`, it does not include that of its parent.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) << 10


def job_of(
    args: argparse.Namespace, config: Config, pattern: str
) -> tuple[dict, dict[str, dict[str, int]], float]:
    """Runs a job: manifest, what was shuffled, CPU seconds."""
    counted, start = CountedGroupByKey(), cpu_secs()
    settings = job.Settings(pattern=pattern)
    with tempfile.TemporaryDirectory() as temporary, counted.installed():
        output = f"{temporary}/out"
        manifest = job.preprocess(config, args.source, output, settings)
    return manifest, counted.counts(), cpu_secs() - start


def measure_cost(args: argparse.Namespace, config: Config) -> Cost:
    """Preprocesses the source; prints what each hour of it costs."""
    source = sources.open_source(args.source, config.audio)
    levels = [
        reading.measure(r.path, config.audio)[0] for r in source.recordings
    ]
    rate = config.audio.sample_rate_hz
    hours = sum(level.samples for level in levels) / rate / 3600
    start_up = job_of(args, config, source.recordings[0].name)[2]
    manifest, counts, whole = job_of(args, config, "*")
    counts = {k: v for k, v in counts.items() if not k.startswith(_COMBINED)}
    written = sum(shard["bytes"] for shard in manifest["shards"])
    cost = Cost(
        names=manifest["recordings"] / hours,
        shards=written / hours / shards.SHARD_BYTES,
        written=written / hours,
        windows=sum(manifest["windows"].values()) / hours,
        records=sum(count["records"] for count in counts.values()) / hours,
        shuffled=sum(count["bytes"] for count in counts.values()) / hours,
        cpu_secs=(whole - start_up) / hours,
    )
    print(f"{manifest['recordings']} recordings, {hours:.3f} hours\n")
    print(f"{'shuffled per hour':38s}{'records':>9s}{'kB':>9s}")
    for label, count in counts.items():
        print(
            f"{label:38s}{count['records'] / hours:9.0f}"
            f"{count['bytes'] / hours / 1e3:9.1f}"
        )
    print(
        f"{'all':38s}{cost.records:9.0f}{cost.shuffled / 1e3:9.1f}\n"
        f"\nan hour: {cost.names:.0f} recordings, {cost.windows:.0f} windows, "
        f"{cost.written / 1e6:.0f} MB in {cost.shards:.1f} shards, "
        f"{cost.cpu_secs:.2f} CPU seconds\n"
        f"a worker with one core: {cost.shards / cost.cpu_secs:.2f} shards/s, "
        f"{cost.written / 1e6 / cost.cpu_secs:.0f} MB/s, "
        f"{3600 / cost.cpu_secs:.0f} x real time\n",
        flush=True,
    )
    return cost


def made_up_files(count: int) -> directory.Files:
    """Names that are listed instead of a directory's."""
    names = (_NAME.format(i % 2500, i % 977, i) for i in range(count))
    files = [(f"{_ROOT}/{name}", name) for name in names]
    return directory.Files(files, [], collections.Counter())


def made_up_groups(config: Config, shard_count: int, names: int):
    """The merged results of shards, each one a new object, as they come."""
    rng = np.random.default_rng(0)
    moments = statistics.PartialMoments.empty(config.stft.bins)
    frames = rng.normal(-4, 2, (8000, config.stft.bins))
    moments.add(frames.astype(np.float32), config)
    result = shards.ShardResult(
        **{"split": "train", "index": 0, "path": "", "records": 1000},
        **{"bytes": 65 << 20, "sha256": "0" * 64, "silent": 9, "frames": 9},
        gains={gain / 10: 1 for gain in range(200)},
        labels={-1: 1000},
        speakers={},
        dead_letters=[],
        moments=moments,
    )
    groups = collections.defaultdict(list)
    for index in range(shard_count):
        # A hundred recordings of each speaker.
        speakers = rng.integers(max(1, names // 100), size=20).tolist()
        changes = {
            "index": index,
            "path": f"Split-train/data_tfrecord-{index:05d}-of-{shard_count}",
            "speakers": {str(speaker): 50 for speaker in speakers},
        }
        groups[index // 1024].append(dataclasses.replace(result, **changes))
        if len(groups[index // 1024]) == 1024 or index == shard_count - 1:
            group = ("train", index // 1024), groups.pop(index // 1024)
            merged = summary.merge(group, config.stft.bins)
            yield pickle.loads(pickle.dumps(merged))


def run_worker(config: Config, root: str, names: int, shard_count: int) -> dict:
    """Merges made-up results into the file for the driver."""
    before = peak_bytes()
    context = shards.JobContext(config, root, progress.Ticks(None), {})
    groups = list(made_up_groups(config, shard_count, names))
    summary.write(context, groups, [])
    return {"merging": peak_bytes() - before}


def run_driver(config: Config, root: str, names: int) -> dict:
    """Runs the driver, with the file of `run_worker` instead of a job."""
    before, start = peak_bytes(), time.perf_counter()
    values: dict = {}

    def run(pipeline, *_):
        values["secs"] = time.perf_counter() - start
        values["listed"] = peak_bytes() - before
        values["graph"] = len(pipeline.to_runner_api().SerializeToString())
        (names_file,) = Path(root).glob(f"*/{names_lib.RECORDINGS}")
        values["names_file"] = names_file.stat().st_size
        shutil.copy(Path(root, summary.SUMMARY), names_file.parent)
        return types.SimpleNamespace(wait_until_finish=lambda: None)

    with (
        mock.patch.object(beam.Pipeline, "run", run),
        mock.patch.object(
            directory, "list_files", lambda _: made_up_files(names)
        ),
    ):
        job.preprocess(config, _ROOT, f"{root}/out")
    values["manifest"] = Path(root, "out", "manifest.json").stat().st_size
    return {**values, "driver": peak_bytes() - before}


def measure_size(args: argparse.Namespace, names: int, shards: int) -> Size:
    """Runs worker and driver in new processes, whose memory is measured."""
    values: dict = {}
    with tempfile.TemporaryDirectory() as root:
        for part in ("worker", "driver"):
            row = f"--row={part},{root},{names},{shards}"
            more = [f"--set={text}" for text in args.set]
            done = subprocess.run(
                [
                    *(sys.executable, __file__, row, f"--config={args.config}"),
                    *(f"--source={args.source}", *more),
                ],
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            values |= json.loads(done.stdout)
    return Size(names=names, shards=shards, **values)


def show_sizes(sizes: list[Size]) -> None:
    """Prints what made-up names take."""
    print(
        f"{'names':>9s}{'shards':>8s}{'start s':>9s}{'graph kB':>10s}"
        f"{'names MB':>10s}{'listed MB':>11s}{'driver MB':>11s}"
        f"{'merging MB':>12s}{'manifest MB':>13s}"
    )
    for size in sizes:
        print(
            f"{size.names:9d}{size.shards:8d}{size.secs:9.1f}"
            f"{size.graph / 1e3:10.0f}{size.names_file / 1e6:10.1f}"
            f"{size.listed / 1e6:11.0f}{size.driver / 1e6:11.0f}"
            f"{size.merging / 1e6:12.0f}{size.manifest / 1e6:13.1f}"
        )
    print(flush=True)


def show_hours(cost: Cost, size: Size, all_hours: list[float]) -> None:
    """Extrapolates the largest measured size to hours of speech."""
    print(
        f"{'hours':>9s}{'names':>11s}{'shards':>10s}{'TB':>8s}"
        f"{'shuffled GB':>13s}{'driver GB':>11s}{'merging GB':>12s}"
        f"{'manifest MB':>13s}{'core-hours':>12s}"
    )
    for hours in all_hours:
        share = hours * cost.names / size.names
        print(
            f"{hours:9g}{hours * cost.names:11.0f}{hours * cost.shards:10.0f}"
            f"{hours * cost.written / 1e12:8.2f}"
            f"{hours * cost.shuffled / 1e9:13.2f}"
            f"{share * size.driver / 1e9:11.2f}"
            f"{share * size.merging / 1e9:12.2f}"
            f"{share * size.manifest / 1e6:13.1f}"
            f"{hours * cost.cpu_secs / 3600:12.1f}"
        )


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--source", required=True, help="directory of recordings"
    )
    parser.add_argument(
        "--names",
        type=int,
        nargs="+",
        default=[1000, 100_000, 1_000_000],
        help="numbers of made-up names (default: 1000 100000 1000000)",
    )
    parser.add_argument(
        "--hours",
        type=float,
        nargs="+",
        default=[100, 10_000, 1_000_000],
        help="hours to extrapolate to (default: 100 10000 1000000)",
    )
    parser.add_argument("--row", help=argparse.SUPPRESS)
    config_lib.add_arguments(parser, default="speech16k")
    return cli.run_command(_run, parser.parse_args(argv))


def _run(args: argparse.Namespace) -> int:
    config = config_lib.load(args.config, args.set)
    if args.print_config:
        return config_lib.print_config(config)
    if args.row:
        part, root, names, count = args.row.split(",")
        if part == "worker":
            values = run_worker(config, root, int(names), int(count))
        else:
            values = run_driver(config, root, int(names))
        print(json.dumps(values))
        return 0
    cost = measure_cost(args, config)
    per_name = cost.shards / cost.names
    counts = {names: max(1, round(names * per_name)) for names in args.names}
    sizes = [measure_size(args, *row) for row in counts.items()]
    show_sizes(sizes)
    show_hours(cost, sizes[-1], args.hours)
    return 0


if __name__ == "__main__":
    sys.exit(main())
