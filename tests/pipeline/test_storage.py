"""Remote data: a real S3 protocol, spoken by moto's server on loopback."""

import json
import os
import subprocess
import sys
import urllib.request

import pytest

from pipeline import inspect, preprocess, storage, validate
from tests.conftest import ROOT, needs_tfio, run_command
from tests.test_preprocess import digests

boto3 = pytest.importorskip("boto3")
moto_server = pytest.importorskip("moto.server")

KEYS = {
    "AWS_ACCESS_KEY_ID": "anyone",
    "AWS_SECRET_ACCESS_KEY": "anything",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture
def s3(monkeypatch):
    """A client of an empty bucket called `speech`."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    server = moto_server.ThreadedMotoServer(
        ip_address="127.0.0.1", port=0, verbose=False
    )
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("S3_ENDPOINT", f"http://{host}:{port}")
    # All of moto's servers in a process share what they hold.
    reset = urllib.request.Request(
        f"http://{host}:{port}/moto-api/reset", method="POST"
    )
    urllib.request.urlopen(reset).close()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="speech")
    yield client
    server.stop()


def preprocess_s3(source, output, *more):
    return preprocess.main(
        [
            "--runner=FnApiRunner",
            "--config=tiny",
            f"--source={source}",
            f"--output={output}",
            f"--s3_endpoint_url={os.environ['S3_ENDPOINT']}",
            *(f"--s3_{k}={v}" for k, v in _beam_keys()),
            *more,
        ]
    )


def _beam_keys():
    yield "access_key_id", KEYS["AWS_ACCESS_KEY_ID"]
    yield "secret_access_key", KEYS["AWS_SECRET_ACCESS_KEY"]
    yield "region_name", KEYS["AWS_REGION"]


def names(s3, prefix):
    found = s3.list_objects_v2(Bucket="speech", Prefix=prefix)
    return {o["Key"].removeprefix(prefix) for o in found.get("Contents", [])}


def upload(s3, recordings, count):
    """Some recordings in a folder of the bucket."""
    for path in sorted(recordings.iterdir())[:count]:
        s3.upload_file(str(path), "speech", f"in/deep/{path.name}")


@needs_tfio
def test_from_a_bucket_to_a_bucket_to_a_training(
    s3, recordings, tmp_path, capsys
):
    upload(s3, recordings, 10)
    s3.put_object(Bucket="speech", Key="in/bad.wav", Body=b"no sound")
    s3.put_object(Bucket="speech", Key="in/notes.txt", Body=b"none")
    target = "s3://speech/out/digits"
    assert preprocess_s3("s3://speech/in", target) == 0
    # The same as from and to a disk, but for what is empty.
    local = tmp_path / "in/deep"
    local.mkdir(parents=True)
    for path in sorted(recordings.iterdir())[:10]:
        (local / path.name).symlink_to(path)
    (tmp_path / "in/bad.wav").write_text("no sound")
    assert preprocess_s3(tmp_path / "in", tmp_path / "out") == 0
    there = names(s3, "out/digits/")
    here = digests(tmp_path / "out")
    for name in there:
        body = s3.get_object(Bucket="speech", Key=f"out/digits/{name}")["Body"]
        assert body.read() == (tmp_path / "out" / name).read_bytes()
    assert {n for n in here if (tmp_path / "out" / n).stat().st_size} == there
    assert not names(s3, "out/.incomplete")
    # Refused while it is there, replaced when asked to.
    assert preprocess_s3("s3://speech/in", target) == 1
    assert "exists; use --overwrite" in capsys.readouterr().err
    # Worker processes are told of the bucket by us.
    more = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    more += ["--pattern=deep/*", "--overwrite"]
    assert preprocess_s3("s3://speech/in", target, *more) == 0
    body = s3.get_object(Bucket="speech", Key="out/digits/manifest.json")
    assert json.load(body["Body"])["recordings"] == 10
    picture = tmp_path / "x.png"
    assert inspect.main([target, f"--picture={picture}"]) == 0
    capsys.readouterr()
    few = ["--set=validate.min_speakers=1", "--set=evaluate.clusters=2"]
    assert validate.main([target, "--config=tiny", *few]) == 0
    # TensorFlow reads it by tensorflow-io.
    run = tmp_path / "run"
    args = ["--config=tiny", f"--data={target}", f"--run={run}", "--steps=2"]
    done = run_command("stftgan_tf.train", *args)
    assert done.returncode == 0, done.stderr
    assert (run / "checkpoints/step-00000002").is_dir()
    done = run_command("stftgan_tf.train", *args, "--data=s3://speech/none")
    assert done.returncode == 1
    assert "s3://speech/none holds no data set" in done.stderr


def test_a_job_that_fails_leaves_a_bucket_as_it_was(s3, recordings, capsys):
    upload(s3, recordings, 3)
    s3.put_object(Bucket="speech", Key="in/bad.wav", Body=b"no sound")
    before = names(s3, "")
    assert preprocess_s3("s3://speech/in", "s3://speech/out") == 1
    assert "1 of 4 recordings are unusable" in capsys.readouterr().err
    assert names(s3, "") == before


def test_a_target_that_holds_something_else_is_left_alone(
    s3, recordings, capsys
):
    upload(s3, recordings, 2)
    s3.put_object(Bucket="speech", Key="out/Split-train/old", Body=b"x")
    before = names(s3, "")
    more = ["--overwrite"]
    assert preprocess_s3("s3://speech/in", "s3://speech/out", *more) == 1
    assert "holds something else" in capsys.readouterr().err
    assert names(s3, "") == before


def test_a_set_that_is_replaced_in_part_is_not_lost(
    s3, recordings, monkeypatch, capsys
):
    upload(s3, recordings, 4)
    target = "s3://speech/out"
    assert preprocess_s3("s3://speech/in", target) == 0
    remotely, renamed = storage._remotely, []

    def failing(call, *args, **more):
        if call == "rename":
            renamed.append(args)
            if len(renamed) == 2:
                raise OSError(0, "slow down", "s3://speech")
        return remotely(call, *args, **more)

    monkeypatch.setattr(storage, "_remotely", failing)
    assert preprocess_s3("s3://speech/in", target, "--overwrite") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "replaced in part only" in error
    assert "s3://speech/.incomplete-out-" in error
    left = {n.rpartition("/")[2] for n in names(s3, "")}
    assert {"manifest.json", "stats.json", "schema.pbtxt"} <= left
    assert "manifest.json" not in names(s3, "out/")


def test_a_profile_that_is_not_there_is_told_of(monkeypatch, capsys):
    monkeypatch.setenv("AWS_PROFILE", "nope")
    assert inspect.main(["s3://a/b"]) == 1
    assert "(nope) could not be found" in capsys.readouterr().err


def test_a_bucket_that_is_not_there(s3, tmp_path, capsys):
    assert preprocess_s3("s3://nowhere/in", tmp_path / "x") == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: source s3://nowhere/in")


def test_s3_without_credentials_is_refused_at_once(
    tmp_path, monkeypatch, capsys
):
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    # Neither a file nor the machine's own role.
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    args = ["--config=tiny", "--source=s3://a/b", f"--output={tmp_path / 'x'}"]
    assert preprocess.main(args) == 1
    assert "s3://a/b: no credentials for S3" in capsys.readouterr().err
    assert inspect.main(["s3://a/b"]) == 1
    assert "s3://a/b: no credentials for S3" in capsys.readouterr().err


def test_a_file_system_that_is_not_installed(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            *("-m", "pipeline.preprocess", "--config=tiny"),
            *("--source=odd://x/y", f"--output={tmp_path / 'x'}"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "error: source odd://x/y" in done.stderr
    assert "Traceback" not in done.stderr


# What Beam takes of the package hdfs, on a local folder; as WebHDFS' LISTSTATUS
# it lists one level, and no file.
HDFS = """
import os, sys, types
ROOT = sys.argv[1]
class HdfsError(Exception): pass
class InsecureClient:
    def __init__(self, *_, **__): pass
    def list(self, path, status=False):
        if not os.path.isdir(ROOT + path):
            raise HdfsError(f"{path} is not a directory.")
        return [
            (e.name, {"length": e.is_file() and e.stat().st_size,
                      "modificationTime": 0})
            for e in os.scandir(ROOT + path)
        ]
    def status(self, path, strict=True):
        return {"type": "FILE"} if os.path.exists(ROOT + path) else None
hdfs = types.ModuleType("hdfs")
hdfs.InsecureClient = InsecureClient
sys.modules["hdfs"] = hdfs
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
flags = ["--hdfs_host=h", "--hdfs_port=1", "--hdfs_user=u"]
FileSystems.set_options(PipelineOptions(flags))
from pipeline import storage
print(sorted(storage.files_below("hdfs://speech")))
print(sorted(storage.files_below("hdfs://none")))
"""


def test_folders_on_hdfs_are_searched_in_depth(tmp_path):
    for name in ("a.wav", "dev/b.wav", "dev/sub/c.wav"):
        path = tmp_path / "speech" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (tmp_path / "speech" / "dev" / "empty.wav").touch()
    done = subprocess.run(
        [sys.executable, "-c", HDFS, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == [
        "['a.wav', 'dev/b.wav', 'dev/empty.wav', 'dev/sub/c.wav']",
        "[]",
    ], done.stderr


def test_what_cannot_be_brought_to_the_disk_is_seen(tmp_path):
    syncs = storage.Syncs()
    with storage.create(str(tmp_path / "a"), syncs) as file:
        file.write(b"a")
    reading, writing = os.pipe()
    # A pipe has no disk.
    syncs.add(open(writing, "wb"))
    with pytest.raises(OSError, match="Invalid argument"):
        syncs.wait()
    os.close(reading)
    assert (tmp_path / "a").read_bytes() == b"a"
