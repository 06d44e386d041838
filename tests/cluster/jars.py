"""What a cluster needs from Java: the engines' jars, and the job servers."""

import functools
import importlib.util
import shutil
import subprocess
from pathlib import Path

import filelock
import pytest

from tests.conftest import ROOT

# Seconds that Maven may take to download everything and pack a job server.
_MAVEN_SECS = 400

# What Flink and Spark need to run on Java 17.
_OPENED = (
    "java.lang java.lang.invoke java.lang.reflect java.net java.io java.nio "
    "java.util java.util.concurrent java.util.concurrent.atomic "
    "java.util.concurrent.locks java.text java.time sun.nio.ch sun.nio.cs "
    "sun.security.action sun.util.calendar"
).split()


def java() -> list[str]:
    """The start of a Java command; skips the test where Java is missing."""
    path = shutil.which("java")
    if path is None:
        pytest.skip("no Java; install one, such as Debian's openjdk-17-jre")
    opens = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in _OPENED]
    return [path, *opens]


def flink() -> str:
    """The class path of Flink."""
    return f"{_package('pyflink') / 'lib'}/*"


def spark() -> str:
    """The class path of Spark."""
    return f"{_package('pyspark') / 'jars'}/*"


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None:
        pytest.skip(f"no {name}; run pip install -e '.[cluster]'")
    return Path(spec.submodule_search_locations[0])


@functools.cache
def job_server(engine: str) -> Path:
    """The job server of `flink` or `spark`, packed if it is not there yet.

    Skips the test where Maven is missing or cannot download it.
    """
    jar = ROOT / "build" / f"{engine}-job-server.jar"
    project = ROOT / "kubernetes" / "job-server.xml"
    jar.parent.mkdir(exist_ok=True)
    with filelock.FileLock(f"{jar}.lock"):
        stale = project.stat().st_mtime
        if not jar.exists() or jar.stat().st_mtime < stale:
            _pack(project, engine)
    return jar


def _pack(project: Path, engine: str) -> None:
    if shutil.which("mvn") is None:
        pytest.skip("no Maven; install one, such as Debian's maven")
    result = subprocess.run(
        ["mvn", "-q", "-B", "-f", str(project), "-P", engine, "package"],
        capture_output=True,
        text=True,
        timeout=_MAVEN_SECS,
    )
    if result.returncode:
        errors = [s for s in result.stdout.splitlines() if "ERROR" in s]
        pytest.skip(f"Maven cannot pack the job server: {errors[:1]}")
