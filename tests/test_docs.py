"""The documentation builds strictly, its links resolve, its commands run."""

import contextlib
import importlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from stftgan_tf.metrics import registry
from tests.conftest import ROOT, run_command

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *PAGES]
TEXTS.append(ROOT / "tfrecords" / "README.md")

FENCE = re.compile(
    r'^```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?\n(?P<body>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\]\((?!https?:)(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)]*))?\)")
COMMAND = re.compile(r"python -m ((?:pipeline|stftgan_tf)\.[\w.]+)(.*)")

# Commands run as the page says, but with data and models of seconds.
SMALLER = {
    "digits8k": "tiny",
    "--minutes 15": "--steps 10",
    "--minutes 60": "--steps 10",
    "minutes=15": "steps=10",
    "minutes=60": "steps=10",
    # Ten steps are never blessed.
    "pipeline.run --config": "pipeline.run --unblessed --config",
    "pipeline.run --source": "pipeline.run --unblessed --steps 10 "
    "--set model.generator.width=16 --set model.critic.width=16 --source",
    "pipeline.push --model": "pipeline.push --unblessed --model",
}

WORDS = "zero one two yes four five six no eight nine".split()


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(text: str, language: str) -> list[re.Match]:
    return [m for m in FENCE.finditer(text) if m["language"] == language]


def commands(body: str) -> list[str]:
    """The lines of a console block after `$`, continuations joined."""
    lines = body.replace("\\\n", " ").splitlines()
    return [line[2:] for line in lines if line.startswith("$ ")]


def anchors(path: Path) -> set[str]:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
        for title in titles
    }


class Reader:
    """Somebody who types the commands of a page, one after the other."""

    def __init__(self, rest_port: int, grpc_port: int):
        self.servers: list[subprocess.Popen] = []
        self._rest_port, self._grpc_port = rest_port, grpc_port

    def read(self, path: Path) -> None:
        """Runs the console blocks and writes the files that have a title."""
        text = path.read_text(encoding="utf-8")
        for old, new in SMALLER.items():
            text = text.replace(old, new)
        text = text.replace("8501", str(self._rest_port))
        text = text.replace("8500", str(self._grpc_port))
        for block in FENCE.finditer(text):
            if block["title"]:
                Path(block["title"]).write_text(block["body"])
            elif block["language"] == "console":
                for command in commands(block["body"]):
                    self._run(command)

    def close(self) -> None:
        for server in self.servers:
            server.send_signal(signal.SIGTERM)
        for server in self.servers:
            server.wait(timeout=30)

    def _run(self, command: str) -> None:
        words = shlex.split(command)
        if words[:2] != ["python", "-m"]:
            subprocess.run(command, shell=True, check=True, timeout=60)
        elif words[-1] == "&":
            self._serve(words[2:-1])
        elif words[2] == "stftgan_tf.infra_validate":
            # It disables XLA in its process, for good.
            process = run_command(*words[2:])
            assert process.returncode == 0, process.stderr
        else:
            # In this process, which has loaded TensorFlow.
            module = importlib.import_module(words[2])
            assert module.main(words[3:]) == 0, command

    def _serve(self, words: list[str]) -> None:
        ports = [
            f"--rest_api_port={self._rest_port}",
            f"--port={self._grpc_port}",
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        server = subprocess.Popen(
            [sys.executable, "-m", *words, *ports], env=environment
        )
        self.servers.append(server)
        if "--model_name" in words:
            name = words[words.index("--model_name") + 1]
        else:
            name = Path(words[words.index("--model") + 1]).name
        url = f"http://127.0.0.1:{self._rest_port}/v1/models/{name}"
        while server.poll() is None:
            with contextlib.suppress(OSError):
                if b"AVAILABLE" in urllib.request.urlopen(url).read():
                    return
            time.sleep(0.2)
        raise AssertionError(f"{words} ended with {server.returncode}")


def free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], two.getsockname()[1]]


@pytest.fixture
def reader(tmp_path, monkeypatch, recordings):
    """A reader with recordings in an otherwise empty directory."""
    monkeypatch.chdir(tmp_path)
    dataset = Path("free-spoken-digit-dataset")
    dataset.mkdir()
    (dataset / "recordings").symlink_to(recordings)
    for path in sorted(recordings.glob("*.wav")):
        digit, speaker, take = path.stem.split("_")
        word = Path("my_recordings", WORDS[int(digit)])
        word.mkdir(parents=True, exist_ok=True)
        # Each take of a speaker counts as another speaker.
        shutil.copy(path, word / f"{speaker}{take}_01.wav")
    for speaker in ("anna", "bert"):
        for word in ("yes", "no"):
            directory = Path("my_recordings", word)
            source = sorted(directory.glob("*.wav"))[speaker == "bert"]
            shutil.copy(source, directory / f"{speaker}_01.wav")
    reader = Reader(*free_ports())
    yield reader
    reader.close()


@pytest.fixture
def experienced(reader, shards, trained_run, export):
    """A reader who has done what Getting started says."""
    for kind, path in (
        ("tfrecords", shards),
        ("runs", trained_run),
        ("exports", export),
    ):
        Path(kind).mkdir()
        shutil.copytree(path, Path(kind, "fsdd"))
    return reader


@pytest.mark.trains
def test_commands_of_getting_started_run(reader):
    reader.read(DOCS / "getting-started.md")
    assert len(list(Path("samples/fsdd").glob("*.wav"))) == 16
    assert Path("report.html").is_file()


@pytest.mark.trains
def test_commands_for_own_recordings_run(reader):
    reader.read(DOCS / "your-own-recordings.md")
    assert len(list(Path("samples/yes").glob("*.wav"))) == 4


@pytest.mark.trains
@pytest.mark.slow
def test_commands_of_serving_run(experienced):
    experienced.read(DOCS / "serving.md")
    rest, grpc = Path("samples/rest"), Path("samples/grpc")
    names = sorted(path.name for path in rest.glob("*.wav"))
    assert len(names) == 16
    for name in names:
        assert (rest / name).read_bytes() == (grpc / name).read_bytes()


@pytest.mark.trains
@pytest.mark.slow
def test_commands_of_the_readme_and_the_pipeline_run(experienced):
    experienced.read(ROOT / "README.md")
    assert len(list(Path("samples/mine").glob("*.wav"))) == 16
    assert Path("pipelines/my_recordings/auto.yaml").is_file()
    experienced.read(DOCS / "pipeline-and-tfx.md")
    assert Path("serving/fsdd/1/pushed.json").is_file()


@pytest.mark.trains
@pytest.mark.slow
def test_python_api_runs(reader):
    text = (DOCS / "python-api.md").read_text(encoding="utf-8")
    for old, new in SMALLER.items():
        text = text.replace(old, new)
    namespace = {}
    for block in blocks(text, "python"):
        exec(compile(block["body"], "python-api.md", "exec"), namespace)
    assert namespace["audio"].shape[0] == 4
    assert Path("evaluations/fsdd/evaluation.json").is_file()


def build(directory: Path) -> subprocess.CompletedProcess:
    """Builds the site of a directory that contains mkdocs.yml and docs/."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "-d",
            str(directory / "site"),
        ],
        cwd=directory,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def site(tmp_path):
    """A copy of the documentation."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(DOCS, tmp_path / "docs")
    return tmp_path


def test_site_builds(site):
    result = build(site)
    assert result.returncode == 0, result.stderr


def test_broken_links_fail_the_build(site):
    links = ["missing.md", "results.md#missing", "images/missing.png"]
    with open(site / "docs" / "index.md", "a", encoding="utf-8") as file:
        file.writelines(f"\n[text]({link})\n" for link in links)
    result = build(site)
    assert result.returncode != 0
    assert [link for link in links if link not in result.stderr] == []


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_links_resolve_on_a_code_host(path):
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for link in LINK.finditer(text):
        target = path.parent / link["path"] if link["path"] else path
        assert target.exists(), link[0]
        if link["anchor"]:
            assert link["anchor"] in anchors(target), link[0]


def test_every_command_has_the_flags_that_the_docs_use(capsys):
    flags = {}
    for path in TEXTS:
        if path.name == "CHANGELOG.md":
            continue
        for line in path.read_text().replace("\\\n", " ").splitlines():
            for module, rest in COMMAND.findall(line.replace("`", "\n")):
                # Not those of another command or of Beam.
                names = re.findall(r"(?<!\S)--(\w+)", rest)
                flags.setdefault(module, set()).update(names)
    beam = {"environment_type", "setup_file", "flink_master", "project"}
    beam |= {"spark_master_url", "region", "temp_location", "job_endpoint"}
    beam |= {"direct_running_mode", "direct_num_workers"}
    beam |= {"dask_client_address", "runner", "environment_config"}
    beam |= {"environment_cache_millis", "parallelism"}
    beam |= {"flink_job_server_jar", "spark_job_server_jar"}
    beam |= {"job_server_jvm_properties"}
    assert len(flags) > 10
    for module, names in flags.items():
        if module.startswith("stftgan_tf.") and module.count(".") > 1:
            continue
        with contextlib.suppress(SystemExit):
            importlib.import_module(module).main(["--help"])
        known = set(re.findall(r"--(\w+)", capsys.readouterr().out))
        assert names - known - beam == set(), module


def test_every_benchmark_has_the_flags_that_the_docs_use():
    uses = []
    for path in TEXTS:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        uses += re.findall(r"python (benchmarks/\w+\.py)([^`\n]*)", text)
    assert len(uses) > 5
    for script, flags in uses:
        source = (ROOT / script).read_text(encoding="utf-8")
        shared = set()
        if "config_lib.add_arguments(" in source:
            shared |= {"--config", "--set"}
        if "cli.add_model(" in source:
            shared |= {"--model"}
        if "cli.add_data(" in source:
            shared |= {"--data"}
        for flag in set(re.findall(r"--\w+", flags)) - shared:
            assert f'"{flag}"' in source, (script, flag)


def test_metrics_in_the_docs_are_those_of_the_registry():
    page = (DOCS / "training-and-collapse.md").read_text(encoding="utf-8")
    assert registry.markdown().strip() in page


def test_readme_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 180


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").glob("*.yaml")), ids=name_of
)
def test_config_has_a_short_note_that_names_its_page(path):
    text = path.read_text(encoding="utf-8")
    note = re.match(r"(#.*\n)*", text)[0]
    assert 0 < note.count("\n") <= 12
    page = f"docs/lab/{path.stem}.md"
    assert page in note and (ROOT / page).is_file()
    assert yaml.safe_load(text)
