import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from pipeline import preprocess
from stftgan_tf import config as config_lib
from stftgan_tf.data import dataset
from stftgan_tf.data import records as example_io
from tests.conftest import ROOT, noise, preprocess_tiny, run_command


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def examples(folder, split):
    files = sorted(str(p) for p in (folder / f"Split-{split}").iterdir())
    for record in tf.data.TFRecordDataset(files):
        yield tf.train.Example.FromString(record.numpy()).features.feature


def test_what_lies_in_a_data_set(shards):
    names = {path.split("/")[0] for path in digests(shards)}
    assert names == {
        "Split-train",
        "Split-eval",
        "manifest.json",
        "schema.pbtxt",
        "stats.json",
        "dead_letters.jsonl",
    }
    assert not list(shards.parent.glob(".*"))


def test_the_manifest_tells_the_truth(shards, tiny):
    manifest = manifest_of(shards)
    assert manifest["recordings"] == 60 and manifest["dead_letters"] == 0
    assert manifest["labels"] == list("0123456789")
    assert manifest["config_hash"] == tiny.data_hash()
    found = digests(shards)
    for shard in manifest["shards"]:
        assert found[shard["path"]] == shard["sha256"]
    for split in example_io.SPLITS:
        assert len(list(examples(shards, split))) == manifest["windows"][split]


def test_moments_are_those_of_the_training_windows(shards, tiny):
    windows = np.float64(
        [e["window"].float_list.value for e in examples(shards, "train")]
    ).reshape(-1, tiny.stft.bins)
    moments = manifest_of(shards)["moments"]
    assert moments["frames"] == len(windows)
    np.testing.assert_allclose(moments["mean"], windows.mean(0), rtol=1e-9)
    np.testing.assert_allclose(moments["std"], windows.std(0), rtol=1e-9)
    np.testing.assert_allclose(moments["min"], windows.min(0), rtol=1e-9)


def test_no_recording_is_in_both_splits(shards):
    ids = {
        split: {
            e["recording_id"].bytes_list.value[0]
            for e in examples(shards, split)
        }
        for split in example_io.SPLITS
    }
    assert ids["train"] and ids["eval"]
    assert not ids["train"] & ids["eval"]


def test_records_carry_label_and_speaker(shards):
    for example in examples(shards, "eval"):
        name = example["recording_id"].bytes_list.value[0].decode()
        digit, speaker, _ = name.split("_")
        assert example["label"].int64_list.value[0] == int(digit)
        assert example["speaker"].bytes_list.value[0].decode() == speaker


@pytest.mark.parametrize(
    "flags",
    [
        ["--runner=DirectRunner"],
        ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
    ],
)
def test_every_local_runner_writes_the_same_bytes(
    shards, recordings, tmp_path, flags
):
    output = tmp_path / "again"
    assert preprocess_tiny(recordings, output, *flags) == 0
    assert digests(output) == digests(shards)


def test_the_dask_runner_writes_the_same_bytes(shards, recordings, tmp_path):
    distributed = pytest.importorskip("distributed")
    output = tmp_path / "again"
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        done = run_command(
            "pipeline.preprocess",
            "--runner=apache_beam.runners.dask.dask_runner.DaskRunner",
            f"--dask_client_address={cluster.scheduler_address}",
            "--config=tiny",
            f"--source={recordings}",
            f"--output={output}",
        )
    assert done.returncode == 0, done.stderr
    assert digests(output) == digests(shards)


def test_the_portable_runner_writes_the_same_bytes(
    shards, recordings, tmp_path
):
    """The protocol of Flink and Spark, by Beam's own job service."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    service = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "apache_beam.runners.portability.local_job_service_main",
            f"--port={port}",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: _answers(port))
        output = tmp_path / "again"
        done = run_command(
            "pipeline.preprocess",
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{port}",
            "--environment_type=LOOPBACK",
            "--config=tiny",
            f"--source={recordings}",
            f"--output={output}",
        )
    finally:
        service.kill()
        service.wait()
    assert done.returncode == 0, done.stderr
    assert digests(output) == digests(shards)


def _answers(port):
    with socket.socket() as sock:
        return sock.connect_ex(("localhost", port)) == 0


def test_split_channels_reach_the_records(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    wave = np.stack([noise(4000), noise(4000)[::-1]], axis=1)
    soundfile.write(source / "two.wav", wave, 8000)
    output = tmp_path / "out"
    more = ["--set=audio.channels=split", "--set=split.eval_fraction=0"]
    assert preprocess_tiny(source, output, *more) == 0
    found = list(examples(output, "train"))
    names = {e["recording_id"].bytes_list.value[0] for e in found}
    assert names == {b"two.wav#0", b"two.wav#1"}
    config = config_lib.load("tiny", [flag[6:] for flag in more])
    windows = [e["window"].float_list.value for e in found]
    assert {len(w) for w in windows} == {np.prod(config.window_shape)}
    batch = dataset.load_windows(
        dataset.open_shards(output, config), config, "train", 100
    )[0]
    assert batch.shape[1:] == (16, 32) and np.ptp(batch) > 1


def test_single_frames(recordings, tmp_path):
    output = tmp_path / "out"
    more = ["--set=window.frames=1", "--set=window.stride_frames=1"]
    more.append("--set=model.num_downsamples=0")
    assert preprocess_tiny(recordings, output, *more) == 0
    (window,) = {
        len(e["window"].float_list.value) for e in examples(output, "eval")
    }
    assert window == 32


def test_bad_recordings_are_dead_letters_and_the_rest_goes_on(
    recordings, tmp_path, shards
):
    source = tmp_path / "source"
    source.mkdir()
    for path in recordings.iterdir():
        (source / path.name).symlink_to(path)
    (source / "text.wav").write_text("no sound")
    whole = (source / "3_adam_0.wav").read_bytes()
    (source / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (source / "9_dora_9.flac").write_bytes(b"fLaC")
    output = tmp_path / "out"
    assert preprocess_tiny(source, output) == 0
    lines = (output / "dead_letters.jsonl").read_text().splitlines()
    letters = {d["path"]: d["reason"] for d in map(json.loads, lines)}
    assert letters == {
        "text.wav": "undecodable",
        "cut.wav": "truncated",
        "9_dora_9.flac": "undecodable",
    }
    windows = manifest_of(shards)["windows"]
    assert manifest_of(output)["windows"] == windows


def test_whatever_lies_in_a_folder_the_job_goes_on(recordings, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    wav = (recordings / "3_adam_0.wav").read_bytes()
    (source / "good.wav").write_bytes(wav)
    (source / "link.wav").symlink_to(source / "good.wav")
    (source / "empty.wav").touch()
    (source / "folder.wav").mkdir()
    os.mkfifo(source / "fifo.wav")
    (source / "loop.wav").symlink_to("loop.wav")
    (source / "up").symlink_to(source)
    for name, samples, rate, subtype in (
        ("zeros.wav", np.zeros(4000), 8000, None),
        ("constant.wav", np.full(4000, 0.5), 8000, None),
        ("one.wav", [0.5], 8000, None),
        ("short.wav", noise(20), 8000, None),
        ("nan.wav", [0.5, np.nan, 0.1], 8000, "FLOAT"),
        ("slow.wav", noise(4000), 1, None),
        ("fast.wav", noise(4000), 10_000_000, None),
    ):
        soundfile.write(source / name, samples, rate, subtype)
    output = tmp_path / "out"
    more = ["--max_bad_fraction=1", "--set=split.eval_fraction=0"]
    assert preprocess_tiny(source, output, *more) == 0
    lines = (output / "dead_letters.jsonl").read_text().splitlines()
    letters = {d["path"]: d["reason"] for d in map(json.loads, lines)}
    assert letters == {
        "empty.wav": "empty",
        "folder.wav": "not a regular file",
        "fifo.wav": "not a regular file",
        "loop.wav": "unreadable",
        "zeros.wav": "silent",
        "constant.wav": "silent",
        "one.wav": "silent",
        "short.wav": "short",
        "nan.wav": "not finite",
        "slow.wav": "rate",
        "fast.wav": "rate",
    }
    manifest = manifest_of(output)
    assert (manifest["duplicates"], manifest["dead_letters"]) == (1, 11)
    assert {
        e["recording_id"].bytes_list.value[0] for e in examples(output, "train")
    } == {b"good.wav"}


def test_names_of_any_kind(recordings, tmp_path):
    source = tmp_path / "so urce"
    names = ["a b.wav", "new\nline.wav", "x" * 251 + ".wav", "日本.wav"]
    good = [*map(os.fsencode, names), b"caf\xe9.wav"]
    source.mkdir()
    wav = (recordings / "3_adam_0.wav").read_bytes()
    for name in [*good, b"bad\xe9.wav"]:
        path = os.path.join(os.fsencode(source), name)
        with open(path, "wb") as file:
            file.write(wav if name in good else b"x")
    output = tmp_path / "out"
    # In a process of its own: pytest cannot tell of such names.
    done = run_command(
        "pipeline.preprocess",
        "--runner=FnApiRunner",
        "--config=tiny",
        f"--source={source}",
        f"--output={output}",
        "--max_bad_fraction=0.5",
        "--set=split.eval_fraction=0",
    )
    assert done.returncode == 0, done.stderr
    ids = {
        e["recording_id"].bytes_list.value[0] for e in examples(output, "train")
    }
    assert ids == set(good)
    (line,) = (output / "dead_letters.jsonl").read_text().splitlines()
    assert os.fsencode(json.loads(line)["path"]) == b"bad\xe9.wav"
    assert "Traceback" not in done.stderr


def test_too_many_bad_recordings_fail_with_their_names(tmp_path, capsys):
    soundfile.write(tmp_path / "good.wav", noise(2000), 8000)
    (tmp_path / "bad.wav").write_text("no sound")
    output = tmp_path / "out" / "x"
    assert preprocess_tiny(tmp_path, output) == 1
    error = capsys.readouterr().err
    assert "1 of 2 recordings are unusable" in error
    assert "bad.wav: undecodable" in error
    assert not list(output.parent.iterdir())


def test_nothing_to_train_on_is_refused(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", noise(2000), 8000)
    more = ["--set=split.by=regex", "--set=split.eval_regex=a"]
    assert preprocess_tiny(tmp_path, tmp_path / "out", *more) == 1
    assert "no window is left to train on" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_existing_data_set_is_replaced_only_on_demand(
    recordings, shards_copy, capsys
):
    before, old = digests(shards_copy), manifest_of(shards_copy)
    assert preprocess_tiny(recordings, shards_copy) == 1
    assert "exists; use --overwrite" in capsys.readouterr().err
    assert digests(shards_copy) == before
    more = ["--overwrite", "--set=window.stride_frames=8"]
    assert preprocess_tiny(recordings, shards_copy, *more) == 0
    new = manifest_of(shards_copy)
    assert new["windows"]["train"] > 1.5 * old["windows"]["train"]
    assert not list(shards_copy.parent.glob(".*"))


def test_a_folder_that_is_no_data_set_is_never_replaced(
    recordings, tmp_path, capsys
):
    (tmp_path / "thesis.tex").touch()
    assert preprocess_tiny(recordings, tmp_path, "--overwrite") == 1
    assert "holds something else" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_overwrite_that_fails_leaves_the_old_set(shards_copy, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "bad.wav").write_text("no sound")
    before = digests(shards_copy)
    assert preprocess_tiny(tmp_path / "source", shards_copy, "--overwrite") == 1
    assert digests(shards_copy) == before


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--source=nowhere"], 1, "source nowhere does not exist"),
        (["--sourze=x"], 2, "unknown arguments --sourze=x"),
        (["--runner=NoRunner"], 2, "--runner NoRunner"),
        (["--config=digits9k"], 2, "no config file 'digits9k'"),
        (["--set=stft.hop=3"], 2, "unknown key stft.hop"),
        (["--max_bad_fraction=nan"], 2, "_fraction is nan; expected 0 to 1"),
        (["--max_bad_fraction=-1"], 2, "_fraction is -1.0; expected 0 to 1"),
        (["--direct_num_workers=abc"], 2, "--direct_num_workers: invalid int"),
        (["--output=s3://bucket"], 2, "a whole bucket; expected a folder"),
        (["--output=/", "--overwrite"], 2, "a whole disk; expected a folder"),
        (
            ["--source=s3://a/b", "--set=audio.decoder=tfio"],
            2,
            "audio.decoder is tfio, which reads no remote files",
        ),
    ],
)
def test_bad_usage_is_one_line_and_an_exit_code(
    recordings, tmp_path, capsys, flags, code, message
):
    assert preprocess_tiny(recordings, tmp_path / "x", *flags) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1 and error.startswith("error: ")


@pytest.mark.parametrize("source", ["wavs", "list.csv", "../corpus/wavs"])
def test_what_is_read_is_never_replaced(recordings, tmp_path, capsys, source):
    corpus = tmp_path / "corpus"
    shutil.copytree(recordings, corpus / "wavs")
    (corpus / "list.csv").write_text("file\nwavs/a.wav\n")
    # As other tools lay a corpus out.
    (corpus / "manifest.json").write_text("{}")
    args = [corpus / source, f"{corpus}/", "--overwrite"]
    assert preprocess_tiny(*args) == 2
    assert "is, or lies in, --output" in capsys.readouterr().err
    assert len(list((corpus / "wavs").iterdir())) == 60


@pytest.mark.parametrize("kind", ["list", "links"])
def test_what_is_read_from_elsewhere_is_never_replaced(
    recordings, tmp_path, capsys, kind
):
    corpus = shutil.copytree(recordings, tmp_path / "corpus")
    (corpus / "manifest.json").write_text("{}")
    names = [path for path in corpus.iterdir() if path.suffix == ".wav"]
    source = tmp_path / ("list.csv" if kind == "list" else "links")
    if kind == "list":
        source.write_text("\n".join(["file", *map(str, names)]))
    else:
        source.mkdir()
        for path in names:
            (source / path.name).symlink_to(path)
    assert preprocess_tiny(source, corpus, "--overwrite") == 2
    assert ".wav, which is read, is, or lies in" in capsys.readouterr().err
    assert len(list(corpus.iterdir())) == 61


def test_a_link_to_itself_is_one_line(recordings, tmp_path, capsys):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert preprocess_tiny(loop, tmp_path / "x") == 1
    assert preprocess_tiny(recordings, loop) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_a_data_set_is_named_by_its_source(tmp_path, monkeypatch):
    (tmp_path / "speech-1.1" / "in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "speech-1.1" / "in")
    for source, name in {
        ".": "in",
        "..": "speech-1.1",
        "../../speech-1.1/": "speech-1.1",
        "s3://b/speech-1.1": "speech-1.1",
        "lists/digits.csv": "digits",
        "tfds:spoken_digit:train": "spoken_digit-train",
        "demo": "demo",
    }.items():
        assert preprocess._default_output(source) == f"tfrecords/{name}"


def test_a_link_to_another_disk_stays_a_link(recordings, tmp_path):
    disk, output = tmp_path / "disk", tmp_path / "shards"
    output.symlink_to(disk)
    for more in ([], ["--overwrite"]):
        assert preprocess_tiny(recordings, output, *more) == 0
        assert output.is_symlink() and (disk / "manifest.json").is_file()
        names = {p.name for p in tmp_path.iterdir()}
        assert names == {"disk", "shards"}


def test_a_failing_job_is_one_line_by_any_name_of_the_runner(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_text("no sound")
    more = ["--runner=direct"]
    assert preprocess_tiny(tmp_path / "in", tmp_path / "x", *more) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture
def small_disk():
    """A disk of 200 kB."""
    folder = Path(tempfile.mkdtemp())
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


def test_a_full_disk_is_one_line_and_publishes_nothing(
    recordings, small_disk, capsys
):
    output = small_disk / "x"
    assert preprocess_tiny(recordings, output) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: the Beam job failed")
    assert "No space left on device" in last
    assert not list(small_disk.iterdir())


def test_a_limit_of_file_sizes_is_one_line_and_publishes_nothing(
    recordings, tmp_path
):
    # A file-size limit makes writes fail as a full disk does.
    script = (
        "import resource, sys; from pipeline import preprocess;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
        "sys.exit(preprocess.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            script,
            "--runner=FnApiRunner",
            "--config=tiny",
            f"--source={recordings}",
            f"--output={tmp_path / 'x'}",
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: the Beam job failed") and "large" in last
    assert not list(tmp_path.iterdir())


def start(recordings, output, *more):
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pipeline.preprocess",
            "--runner=FnApiRunner",
            "--config=tiny",
            f"--source={recordings}",
            f"--output={output}",
            *more,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where tests run in the background, a shell has SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(condition, secs=60):
    end = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def staged(folder):
    """What jobs are writing, or were when they were killed."""
    return set(folder.glob(".incomplete-x-*"))


def test_killed_at_any_moment_nothing_shows_and_a_rerun_succeeds(
    recordings, shards, tmp_path
):
    output = tmp_path / "x"
    at_work = 0
    # Moments that are fixed, over the whole of the work.
    for pause in np.linspace(0, 1.5, 10):
        before = staged(tmp_path)
        job = start(recordings, output)
        wait_for(lambda: staged(tmp_path) - before)  # noqa: B023
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.wait(pause)
        at_work += job.poll() is None
        job.kill()
        job.communicate()
        if output.exists():
            assert digests(output) == digests(shards)
            shutil.rmtree(output)
    assert at_work >= 2
    assert preprocess_tiny(recordings, output) == 0
    assert digests(output) == digests(shards)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_ctrl_c_says_so_and_leaves_nothing(recordings, tmp_path):
    # Many seconds of work.
    more = ["--set=window.stride_frames=1", "--set=stft.frame_step=1"]
    job = start(recordings, tmp_path / "x", *more)
    wait_for(lambda: list(tmp_path.glob(".incomplete-x-*")))
    os.kill(job.pid, signal.SIGINT)
    _, error = job.communicate()
    assert job.returncode == 130, error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_a_second_job_for_the_same_target_is_refused(
    recordings, tmp_path, capsys
):
    output = tmp_path / "x"
    with contextlib.ExitStack() as stack:
        stack.enter_context(preprocess._locked(str(output)))
        assert preprocess_tiny(recordings, output) == 1
    assert "another job is writing" in capsys.readouterr().err


def test_workers_load_no_tensorflow():
    done = run_command_code(
        "import sys, pipeline.preprocess; "
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert done.stdout.strip() == "[]", done.stderr


def run_command_code(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )


def test_help_shows_an_example():
    done = run_command("pipeline.preprocess", "--help")
    assert done.returncode == 0
    assert preprocess.EXAMPLE in done.stdout


def test_the_config_decides_the_windows(recordings, tmp_path):
    more = ["--set=window.frames=32", "--set=window.stride_frames=32"]
    assert preprocess_tiny(recordings, tmp_path / "x", *more) == 0
    config = config_lib.load("tiny", ["window.frames=32"])
    size = int(np.prod(config.window_shape))
    for example in examples(tmp_path / "x", "train"):
        assert len(example["window"].float_list.value) == size
