"""Checks the Kubernetes files against Kubernetes' schemas and our commands."""

import json
import re
import shlex
import subprocess
import sys

import kubernetes_validate
import pytest
import yaml

from pipeline import run
from pipeline.workflow.step import STEPS
from tests.conftest import ROOT

DIRECTORY = ROOT / "kubernetes"
FILES = sorted(path.name for path in DIRECTORY.glob("*.yaml"))
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
VERSIONS = ("1.30", "1.34")


def documents(name):
    return list(yaml.safe_load_all((DIRECTORY / name).read_text()))


DOCUMENTS = [d for name in FILES for d in documents(name)]
SERVICES = {
    d["metadata"]["name"]: d for d in DOCUMENTS if d["kind"] == "Service"
}
PODS = {
    d["metadata"]["name"]: d["spec"]["template"]
    for d in DOCUMENTS
    if "template" in d.get("spec", {})
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", FILES)
def test_documents_match_the_schemas(name, version):
    for document in documents(name):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_schemas_reject_a_wrong_type():
    (claim,) = documents("storage.yaml")
    claim["spec"]["accessModes"] = "ReadWriteMany"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(claim, VERSIONS[0], strict=True)


def ports_of(service):
    return {port["port"] for port in service["spec"]["ports"]}


def test_services_select_pods_with_their_ports():
    for name, service in SERVICES.items():
        pod = PODS[name]
        labels = pod["metadata"]["labels"].items()
        assert service["spec"]["selector"].items() <= labels
        open_ports = {
            port["containerPort"]
            for container in pod["spec"]["containers"]
            for port in container.get("ports", [])
        }
        assert ports_of(service) <= open_ports


def test_all_pods_mount_one_volume_at_one_path():
    (claim,) = documents("storage.yaml")
    for pod in PODS.values():
        volumes = pod["spec"].get("volumes", [])
        for volume in volumes:
            assert (
                volume["persistentVolumeClaim"]["claimName"]
                == claim["metadata"]["name"]
            )
        for container in pod["spec"]["containers"]:
            mounts = container.get("volumeMounts", [])
            assert all(m["mountPath"] == "/speech" for m in mounts)
            # Containers that run our code or serve versions need the volume.
            needed = container["image"].startswith(("stftgan", "tensorflow/"))
            assert bool(mounts) == needed


def pipeline_container():
    (container,) = PODS["pipeline"]["spec"]["containers"]
    return container


def test_tf_config_names_every_worker():
    container = pipeline_container()
    (job,) = [d for d in DOCUMENTS if d["kind"] == "Job"]
    count = job["spec"]["completions"]
    assert job["spec"]["parallelism"] == count
    names = [variable["name"] for variable in container["env"]]
    # Kubernetes only substitutes variables that are defined before.
    assert names.index("WORKER") < names.index("TF_CONFIG")
    text = container["env"][names.index("TF_CONFIG")]["value"]
    for index in range(count):
        tf_config = json.loads(text.replace("$(WORKER)", str(index)))
        assert tf_config["task"] == {"type": "worker", "index": index}
        workers = tf_config["cluster"]["worker"]
        assert workers == [f"pipeline-{i}.pipeline:2222" for i in range(count)]
    assert PODS["pipeline"]["spec"]["subdomain"] == "pipeline"
    assert 2222 in ports_of(SERVICES["pipeline"])


def test_the_pipeline_accepts_its_flags(tmp_path, capsys):
    container = pipeline_container()
    assert container["command"] == ["python", "-m", "pipeline.run"]
    flags = [f.replace("/speech", str(tmp_path)) for f in container["args"]]
    assert run.main([*flags, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(STEPS)
    beam = dict(f[2:].split("=", 1) for f in flags)
    for flag in ("job_endpoint", "artifact_endpoint"):
        host, port = beam[flag].split(":")
        assert int(port) in ports_of(SERVICES[host])
    (workers,) = [
        c
        for c in PODS["flink-taskmanager"]["spec"]["containers"]
        if c["args"] == ["--worker_pool"]
    ]
    port = int(beam["environment_config"].split(":")[1])
    assert workers["ports"] == [{"containerPort": port}]


def test_flink_has_a_slot_for_each_parallel_task_and_a_spare_one():
    flags = pipeline_container()["args"]
    (parallelism,) = [f.split("=")[1] for f in flags if "parallelism" in f]
    (deployment,) = [
        d
        for d in DOCUMENTS
        if d["metadata"]["name"] == "flink-taskmanager"
        and d["kind"] == "Deployment"
    ]
    assert deployment["spec"]["replicas"] == int(parallelism)
    images = {
        container["name"]: container["image"]
        for pod in PODS.values()
        for container in pod["spec"]["containers"]
    }
    # What the tests run: the job server is built, Flink comes from PyPI.
    project = (DIRECTORY / "job-server.xml").read_text()
    (beam,) = re.findall("<beam.version>(.*)</beam.version>", project)
    (flink,) = re.findall("beam-runners-flink-(.*)<", project)
    assert images["jobserver"] == f"apache/beam_flink{flink}_job_server:{beam}"
    assert images["taskmanager"] == images["jobmanager"] == f"flink:{flink}"
    assert f"apache-flink-libraries=={flink}." in CONSTRAINTS


def dockerfile(instruction):
    """The arguments of each such instruction."""
    lines = (DIRECTORY / "Dockerfile").read_text().splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [w[1:] for w in words if w and w[0] == instruction]


def test_the_image_copies_what_exists():
    ignored = (DIRECTORY / "Dockerfile.dockerignore").read_text().split()
    for *sources, _ in dockerfile("COPY"):
        for source in sources:
            assert (ROOT / source).exists()
            assert source not in ignored
    # What pip installs from.
    assert not {"setup.py", "README.md", "configs"} & set(ignored)


def test_the_image_has_the_pinned_beam():
    ((image,),) = dockerfile("FROM")
    version = image.partition(":")[2]
    assert f"apache-beam=={version}\n" in CONSTRAINTS


@pytest.mark.slow
def test_the_requirements_of_the_image_can_be_installed(tmp_path):
    (command,) = dockerfile("RUN")
    assert command[:2] == ["pip", "install"]
    words = [w.replace("/opt/stftgan", str(ROOT)) for w in command[1:]]
    report = tmp_path / "report.json"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", *words, "--dry-run"),
            *("--quiet", "--ignore-installed", "--report", str(report)),
        ],
        check=True,
    )
    installed = json.loads(report.read_text())["install"]
    names = {package["metadata"]["name"] for package in installed}
    assert {"apache-beam", "tensorflow", "stftgan-tf"} <= names


def test_pushed_versions_are_served():
    (container,) = PODS["digits"]["spec"]["containers"]
    flags = dict(f[2:].split("=") for f in container["args"])
    base_path = f"--base_path={flags['model_base_path']}"
    assert base_path in pipeline_container()["args"]
    probe = container["readinessProbe"]["httpGet"]["path"]
    assert probe == f"/v1/models/{flags['model_name']}"
