"""What is installed works from any folder."""

import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel's content, as pip would lay it into site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("pipeline", "stftgan_tf", "configs"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps"),
            *("--no-build-isolation", "-w", folder, source),
        ],
        check=True,
    )
    (wheel,) = folder.glob("stftgan_tf-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_the_configs_and_no_tests(installed):
    configs = {p.name for p in (installed / "stftgan_tf" / "configs").iterdir()}
    assert configs == {p.name for p in (ROOT / "configs").glob("*.yaml")}
    assert (installed / "stftgan_tf" / "evaluation" / "report.html").is_file()
    assert not (installed / "tests").exists()
    assert not (installed / "configs").exists()


def test_a_shipped_config_is_found_by_name_from_any_folder(installed, tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pipeline.preprocess"),
            *("--config", "digits8k", "--print-config"),
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "frame_length: 256" in done.stdout
    assert done.stderr == ""
