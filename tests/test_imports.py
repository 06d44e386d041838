"""Imports run one way, from commands down to the config."""

import ast
import graphlib
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# Lowest first; a module imports from its own layer and from those below it.
LAYERS = (
    ("errors", "files", "progress", "run_files", "signals"),
    ("config",),
    ("cli", "pictures"),
    ("dsp",),
    ("data",),
    ("metrics",),
    ("models",),
    ("training",),
    ("saved_model",),
    ("evaluation",),
    ("serving",),
    # Commands, and the API for notebooks, which calls the same functions.
    (
        "api",
        "client",
        "evaluate",
        "export",
        "infra_validate",
        "report",
        "sample",
        "serve",
        "train",
    ),
    ("tfx", "__main__"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# What the pipeline's own modules may take from the model's package: no
# networks, no training, no Keras. TFX alone takes the steps as functions.
SHARED = {
    "cli",
    "config",
    "data.batching",
    "data.records",
    "dsp",
    "errors",
    "evaluation.blessing",
    "evaluation.lineage",
    "files",
    "pictures",
    "progress",
    "run_files",
    "saved_model.contract",
    "saved_model.export_files",
    "signals",
}
PACKAGES = ("pipeline", "stftgan_tf")
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if path.stem != "__init__"
)


def imports_of(module):
    """Dotted names of our modules that a module imports anywhere."""
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} uses a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if _is_module(name) else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _is_module(name):
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or path.is_dir()


def ours(module):
    return {n for n in imports_of(module) if n.split(".")[0] in PACKAGES}


@pytest.mark.parametrize(
    "module", [m for m in MODULES if m.startswith("stftgan_tf.")]
)
def test_a_module_imports_from_its_layer_and_below(module):
    rank = RANK[module.split(".")[1]]
    for name in ours(module):
        package, _, rest = name.partition(".")
        assert package == "stftgan_tf", f"{module} imports {name}"
        if rest:
            assert RANK[rest.split(".")[0]] <= rank, f"{module}: {name}"


@pytest.mark.parametrize(
    "module",
    [
        m
        for m in MODULES
        if m.startswith("pipeline.") and m != "pipeline.tfx_pipeline"
    ],
)
def test_the_pipeline_imports_no_model(module):
    for name in ours(module):
        package, _, rest = name.partition(".")
        if package == "stftgan_tf":
            parts = rest.split(".")
            assert SHARED & {parts[0], ".".join(parts[:2])}, f"{module}: {name}"


def test_imports_have_no_cycle():
    arrows = {module: ours(module) for module in MODULES}
    # Raises CycleError, which names the cycle.
    order = graphlib.TopologicalSorter(arrows).static_order()
    assert set(MODULES) <= set(order)


def loaded_by(statement):
    code = f"{statement}; import sys; print(*sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert process.returncode == 0, process.stderr
    return set(process.stdout.split())


def test_packages_alone_load_nothing_heavy():
    loaded = loaded_by("import pipeline, stftgan_tf")
    assert not loaded & {"numpy", "tensorflow", "keras", "apache_beam"}


def test_sampling_loads_no_training_code():
    loaded = loaded_by("import stftgan_tf.sample")
    ours = {name for name in loaded if name.startswith("stftgan_tf.")}
    packages = {name.split(".")[1] for name in ours}
    assert packages <= {
        "cli",
        "config",
        "errors",
        "files",
        "pictures",
        "progress",
        "sample",
        "saved_model",
    }
    assert "apache_beam" not in loaded
