"""The wheel contains everything and works outside the checkout."""

import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory):
    """The content of the wheel, as pip would unpack it."""
    directory = tmp_path_factory.mktemp("wheel")
    source = directory / "source"
    for name in ("pipeline", "stftgan_tf", "configs"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps"),
            *("--no-build-isolation", "-w", directory, source),
        ],
        check=True,
    )
    (wheel,) = directory.glob("stftgan_tf-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory / "site")
    return directory / "site"


def python_files(root):
    return {
        str(path.relative_to(root))
        for package in ("pipeline", "stftgan_tf")
        for path in (root / package).rglob("*.py")
    }


def files_below(root):
    return {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file()
    }


def test_the_wheel_contains_all_modules_configs_and_templates(site_packages):
    assert python_files(site_packages) == python_files(ROOT)
    configs = site_packages / "stftgan_tf" / "configs"
    assert {path.name for path in configs.iterdir()} == {
        path.name for path in (ROOT / "configs").glob("*.yaml")
    }
    template = site_packages / "stftgan_tf" / "evaluation" / "report.html"
    assert template.is_file()
    assets = site_packages / "stftgan_tf" / "serving" / "assets"
    assert {path.name for path in assets.iterdir()} == {
        path.name
        for path in (ROOT / "stftgan_tf" / "serving" / "assets").iterdir()
    }
    boxed = ("stftgan_tf", "boxed")
    assert files_below(site_packages.joinpath(*boxed)) == files_below(
        ROOT.joinpath(*boxed)
    )
    assert not (site_packages / "tests").exists()
    assert not (site_packages / "configs").exists()


def test_a_shipped_config_is_available_from_any_directory(
    site_packages, tmp_path
):
    process = subprocess.run(
        [
            *(sys.executable, "-m", "pipeline.preprocess"),
            *("--config", "digits8k", "--print_config"),
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site_packages), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert "frame_length: 256" in process.stdout
    assert process.stderr == ""
