"""Local and remote files. Moto's local server speaks the real S3 protocol."""

import functools
import json
import os
import subprocess
import sys
import urllib.request

import pytest
from apache_beam.io.filesystems import FileSystems

from pipeline import inspect, preprocess, remote, storage, validate
from pipeline.sources.recordings import open_source
from stftgan_tf.config import AudioConfig
from stftgan_tf.errors import UserError
from stftgan_tf.files import DirectoryKind
from tests.conftest import ROOT, needs_tfio, preprocess_tiny

boto3 = pytest.importorskip("boto3")
moto_server = pytest.importorskip("moto.server")

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "anyone",
    "AWS_SECRET_ACCESS_KEY": "anything",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
MARKER = "manifest.json"
KIND = DirectoryKind(MARKER, (MARKER, "Split-*/*"), "old")


@pytest.fixture(scope="module")
def endpoint():
    server = moto_server.ThreadedMotoServer(
        ip_address="127.0.0.1", port=0, verbose=False
    )
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(endpoint, monkeypatch):
    """A client whose only bucket, `speech`, is empty; Beam can use it."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("S3_ENDPOINT", endpoint)
    reset = urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset).close()
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket="speech")
    # Beam creates a client for every operation. With a single session the
    # clients share service descriptions, which take half a second to load.
    session = functools.cache(boto3.session.Session)
    monkeypatch.setattr(boto3.session, "Session", session)
    remote.configure_from_environment("s3://speech")
    return client


def names(s3, prefix=""):
    objects = s3.list_objects_v2(Bucket="speech", Prefix=prefix)
    keys = [entry["Key"] for entry in objects.get("Contents", [])]
    return {key.removeprefix(prefix) for key in keys}


def content(s3, key):
    return s3.get_object(Bucket="speech", Key=key)["Body"].read()


def upload(s3, directory, prefix):
    for path in directory.rglob("*"):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(directory)}"
            s3.upload_file(str(path), "speech", key)


def test_a_job_from_s3_to_s3_writes_the_same_bytes(
    s3, recordings, tmp_path, capsys
):
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    for path in sorted(recordings.glob("[01]_*_0.wav")):
        (source / "deep" / path.name).write_bytes(path.read_bytes())
    (source / "bad.wav").write_text("no sound")
    (source / "notes.txt").write_text("not audio")
    tolerant = "--max_bad_fraction=0.5"
    assert preprocess_tiny(source, tmp_path / "out", tolerant) == 0
    upload(s3, source, "in")
    flags = [
        tolerant,
        # The worker processes must get these options, too.
        "--direct_running_mode=multi_processing",
        "--direct_num_workers=2",
        f"--s3_endpoint_url={os.environ['S3_ENDPOINT']}",
        "--s3_access_key_id=anyone",
        "--s3_secret_access_key=anything",
        "--s3_region_name=us-east-1",
    ]
    target = "s3://speech/out/digits"
    assert preprocess_tiny("s3://speech/in", target, *flags) == 0
    files = {
        str(path.relative_to(tmp_path / "out")): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file() and path.stat().st_size
    }
    assert names(s3, "out/digits/") == set(files)
    for name, data in files.items():
        assert content(s3, f"out/digits/{name}") == data
    assert json.loads(files[MARKER])["dead_letters"] == 1
    assert not names(s3, "out/.incomplete")
    assert preprocess_tiny("s3://speech/in", target, *flags) == 1
    assert "exists; use --overwrite" in capsys.readouterr().err
    # The other commands read the data set.
    picture = f"--output={tmp_path / 'windows.png'}"
    assert inspect.main([f"--data={target}", picture]) == 0
    settings = ["--set=validate.min_speakers=1", "--set=evaluate.clusters=2"]
    args = [f"--data={target}", "--config=tiny", *settings]
    assert validate.main(args) == 0


TRAIN = """
import os, sys
from stftgan_tf import train
run, args = sys.argv[1], sys.argv[2:]
codes = [train.main([f"--run={run}", *args])]
codes += [train.main([f"--run={run}-2", *args, "--data=s3://speech/none"])]
print(codes, flush=True)
# tensorflow-io's S3 client aborts when the interpreter is torn down.
os._exit(0)
"""


@needs_tfio
def test_training_reads_a_data_set_on_s3(s3, shards, tmp_path):
    upload(s3, shards, "digits")
    args = ["--config=tiny", "--data=s3://speech/digits", "--steps=2"]
    result = run_script(TRAIN, str(tmp_path / "run"), *args)
    assert result.stdout.splitlines()[-1:] == ["[0, 1]"], result.stderr
    assert (tmp_path / "run/checkpoints/step-00000002").is_dir()
    last_line = result.stderr.strip().splitlines()[-1]
    assert last_line.startswith("error: s3://speech/none")


def test_a_published_directory_replaces_the_old_one(s3):
    for name in (MARKER, "Split-train/old"):
        s3.put_object(Bucket="speech", Key=f"out/{name}", Body=b"old")
    target = "s3://speech/out"
    with storage.published_dir(target, KIND, True) as staging:
        for name, text in ((MARKER, "new"), ("a/b", "new"), ("empty", "")):
            storage.write_text(storage.join(staging, name), text)
        assert names(s3, "out/") == {MARKER, "Split-train/old"}
    # Beam does not create empty files on S3.
    assert names(s3) == {"out/manifest.json", "out/a/b"}
    assert content(s3, "out/manifest.json") == b"new"
    with pytest.raises(UserError, match="s3://speech/out exists; use --overw"):
        storage.refuse_existing(target, KIND, overwrite=False)


def test_a_failure_leaves_the_bucket_as_it_was(s3):
    s3.put_object(Bucket="speech", Key="out/manifest.json", Body=b"old")
    with pytest.raises(UserError, match="the job failed"):
        with storage.published_dir("s3://speech/out", KIND, True) as staging:
            storage.write_text(storage.join(staging, "a"), "a")
            assert len(names(s3)) == 2
            raise UserError("the job failed")
    assert names(s3) == {"out/manifest.json"}


def test_a_target_that_contains_something_else_is_not_replaced(s3):
    s3.put_object(Bucket="speech", Key="out/Split-train/old", Body=b"x")
    with pytest.raises(UserError, match="contains something else .no manif"):
        storage.refuse_existing("s3://speech/out", KIND, overwrite=True)
    assert names(s3) == {"out/Split-train/old"}


def test_a_file_of_the_user_in_a_target_is_not_deleted(s3):
    for name in (MARKER, "Split-train/old", "notes.txt"):
        s3.put_object(Bucket="speech", Key=f"out/{name}", Body=b"old")
    with pytest.raises(UserError, match="contains files of yours .notes.txt"):
        storage.refuse_existing("s3://speech/out", KIND, overwrite=True)
    s3.delete_object(Bucket="speech", Key="out/notes.txt")
    storage.refuse_existing("s3://speech/out", KIND, overwrite=True)
    s3.put_object(Bucket="speech", Key=f"out/{MARKER}", Body=b"of an app")
    with pytest.raises(UserError, match="a manifest.json of something else"):
        storage.refuse_existing("s3://speech/out", KIND, overwrite=True)


def test_a_partly_replaced_directory_is_not_lost(s3, monkeypatch):
    s3.put_object(Bucket="speech", Key="out/manifest.json", Body=b"old")
    rename = FileSystems.rename

    def fail_for_the_last_file(sources, targets):
        if "b19" in targets[-1]:
            raise OSError(0, "slow down", "s3://speech")
        rename(sources, targets)

    monkeypatch.setattr(FileSystems, "rename", fail_for_the_last_file)
    files = [f"b{index:02d}" for index in range(20)]
    with pytest.raises(UserError, match="only partly replaced: .*") as error:
        with storage.published_dir("s3://speech/out", KIND, True) as staging:
            for name in (MARKER, *files):
                storage.write_text(storage.join(staging, name), name)
    assert "slow down" in str(error.value) and staging in str(error.value)
    prefix = staging.removeprefix("s3://speech/")
    moved = {f"out/{name}" for name in files[:16]}
    rest = {f"{prefix}/{name}" for name in (MARKER, *files[16:])}
    assert names(s3) == moved | rest


def test_a_profile_that_does_not_exist(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nope")
    with pytest.raises(UserError, match="s3://a/b: .*nope. could not be found"):
        remote.check_credentials("s3://a/b")


@pytest.mark.parametrize("url", ["https://a.org/b", "file:///a/b"])
def test_a_url_of_another_kind(url):
    with pytest.raises(UserError, match="expected a path, or a URL of s3://"):
        remote.check_credentials(url)


def test_a_bucket_that_does_not_exist(s3):
    with pytest.raises(UserError, match="source s3://nowhere/in contains"):
        open_source("s3://nowhere/in", AudioConfig(sample_rate_hz=8000))


def test_s3_without_credentials_is_refused_at_once(
    tmp_path, monkeypatch, capsys
):
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    # Neither a file nor the machine's role provides credentials.
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    args = ["--config=tiny", "--source=s3://a/b", f"--output={tmp_path / 'x'}"]
    assert preprocess.main(args) == 1
    assert "s3://a/b: no credentials for S3" in capsys.readouterr().err
    assert inspect.main(["--data=s3://a/b"]) == 1
    assert "s3://a/b: no credentials for S3" in capsys.readouterr().err


# A fake of the part of the package hdfs that Beam uses, for a local directory.
# Like WebHDFS's LISTSTATUS, it lists one level and cannot list a file.
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
from pipeline import remote
remote.set_file_system_options(
    {"hdfs_host": "h", "hdfs_port": 1, "hdfs_user": "u"}
)
print(sorted(remote.list_files("hdfs://speech")))
print(sorted(remote.list_files("hdfs://none")))
"""


def test_hdfs_directories_are_searched_in_depth(tmp_path):
    for name in ("a.wav", "dev/b.wav", "dev/sub/c.wav"):
        path = tmp_path / "speech" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (tmp_path / "speech" / "dev" / "empty.wav").touch()
    result = run_script(HDFS, str(tmp_path))
    assert result.stdout.splitlines() == [
        "['a.wav', 'dev/b.wav', 'dev/empty.wav', 'dev/sub/c.wav']",
        "[]",
    ], result.stderr


def run_script(script, *args):
    return subprocess.run(
        [sys.executable, "-c", script, *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_a_failure_to_sync_a_file_is_raised(tmp_path):
    sync = storage.BackgroundSync()
    with storage.create(str(tmp_path / "a"), sync) as file:
        file.write(b"a")
    read_fd, write_fd = os.pipe()
    # A pipe cannot be synced.
    sync.add(open(write_fd, "wb"))
    with pytest.raises(OSError, match="Invalid argument"):
        sync.wait()
    os.close(read_fd)
    assert (tmp_path / "a").read_bytes() == b"a"
