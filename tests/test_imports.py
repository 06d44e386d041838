"""The arrows between modules run one way, as the README draws them."""

import ast
import graphlib
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# Module -> modules of ours that it may import. What is not named here may
# import nothing of ours.
ALLOWED = {
    "stftgan_tf.cli": {"config"},
    "stftgan_tf.features": {"config"},
    "stftgan_tf.phase": {"config", "features"},
    "stftgan_tf.heap": {"config", "phase"},
    "stftgan_tf.dataset": {"cli", "config", "example_io", "features"},
    "stftgan_tf.augment": {"config", "features"},
    "stftgan_tf.distribute": {"cli", "config"},
    "stftgan_tf.embedding": {"config", "features"},
    "stftgan_tf.condition": {
        "cli",
        "config",
        "dataset",
        "embedding",
        "metrics",
    },
    "stftgan_tf.judge": {"cli"},
    "stftgan_tf.metrics": {"config"},
    "stftgan_tf.networks": {"config", "features"},
    "stftgan_tf.wgan": {"augment", "config", "losses"},
    "stftgan_tf.checkpoints": {"cli", "wgan"},
    "stftgan_tf.callbacks": {
        "checkpoints",
        "cli",
        "config",
        "embedding",
        "features",
        "metrics",
        "phase",
        "pictures",
        "wgan",
    },
    "stftgan_tf.train": {
        "augment",
        "callbacks",
        "checkpoints",
        "cli",
        "condition",
        "config",
        "dataset",
        "distribute",
        "embedding",
        "features",
        "networks",
        "wgan",
    },
    "stftgan_tf.export": {
        "checkpoints",
        "cli",
        "condition",
        "config",
        "dataset",
        "exported",
        "features",
        "networks",
        "served",
    },
    "stftgan_tf.served": {"config", "features", "phase"},
    "stftgan_tf.exported": {"cli"},
    "stftgan_tf.sample": {
        "cli",
        "config",
        "exported",
        "features",
        "heap",
        "phase",
        "pictures",
    },
    "stftgan_tf.client": {"cli"},
    "stftgan_tf.infra_validate": {
        "cli",
        "client",
        "exported",
        "serving.servable",
    },
    "stftgan_tf.serving.servable": {"exported"},
    "stftgan_tf.serving.versions": {"cli", "serving.servable"},
    "stftgan_tf.serving.json_tensors": {"serving.servable"},
    "stftgan_tf.serving.rest": {
        "serving.json_tensors",
        "serving.monitoring",
        "serving.servable",
        "serving.versions",
    },
    "stftgan_tf.serving.rpc": {
        "serving.monitoring",
        "serving.servable",
        "serving.versions",
    },
    "stftgan_tf.serve": {
        "cli",
        "serving.monitoring",
        "serving.rest",
        "serving.rpc",
        "serving.servable",
        "serving.versions",
    },
    "stftgan_tf.blessing": {"cli", "config"},
    "stftgan_tf.charts": {"pictures"},
    "stftgan_tf.evaluate": {
        "blessing",
        "cli",
        "config",
        "dataset",
        "embedding",
        "exported",
        "features",
        "judge",
        "metrics",
        "phase",
    },
    "stftgan_tf.lineage": {"cli"},
    "stftgan_tf.report": {
        "blessing",
        "charts",
        "cli",
        "config",
        "dataset",
        "embedding",
        "evaluate",
        "exported",
        "features",
        "lineage",
        "pictures",
    },
    "stftgan_tf.tfx_trainer": {
        "cli",
        "config",
        "dataset",
        "distribute",
        "export",
        "train",
    },
    "stftgan_tf.tfx_components": {
        "blessing",
        "cli",
        "config",
        "dataset",
        "evaluate",
        "exported",
        "infra_validate",
        "report",
        "tfx_trainer",
    },
    "pipeline.storage": {"cli"},
    "pipeline.tfx_pipeline": {
        "blessing",
        "cli",
        "config",
        "dataset",
        "tfx_components",
    },
    "pipeline.validate": {
        "cli",
        "config",
        "example_io",
        "features",
        "inspect",
        "storage",
    },
    "pipeline.run": {
        "blessing",
        "cli",
        "config",
        "lineage",
        "preprocess",
        "push",
        "sources",
        "step",
    },
    "pipeline.step": {"cli", "lineage"},
    "pipeline.push": {"blessing", "cli", "lineage"},
    "pipeline.tfds_source": {"cli", "example_io"},
    "pipeline.audio": {"cli", "config", "storage", "tfds_source"},
    "pipeline.decoder": {"config", "audio", "storage"},
    "pipeline.segments": {
        "config",
        "example_io",
        "features",
        "audio",
        "decoder",
        "sources",
    },
    "pipeline.demo": {"cli"},
    "pipeline.progress": {"cli"},
    "pipeline.statistics": {"config", "example_io", "features"},
    "pipeline.sources": {
        "cli",
        "config",
        "example_io",
        "audio",
        "demo",
        "storage",
        "tfds_source",
    },
    "pipeline.transforms": {
        "config",
        "example_io",
        "audio",
        "decoder",
        "progress",
        "segments",
        "sources",
        "statistics",
        "storage",
    },
    "pipeline.preprocess": {
        "cli",
        "config",
        "example_io",
        "audio",
        "progress",
        "sources",
        "statistics",
        "storage",
        "tfds_source",
        "transforms",
    },
    "pipeline.inspect": {
        "cli",
        "config",
        "example_io",
        "features",
        "pictures",
        "statistics",
        "storage",
    },
}
PACKAGES = ("pipeline", "stftgan_tf")
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if path.stem != "__init__"
)


def imports_of(module):
    """(package, module) of ours that a module imports anywhere."""
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            package, _, name = node.module.partition(".")
            if package in PACKAGES:
                for alias in node.names:
                    # Of a package below, a module; of a module, its name.
                    if (ROOT / package / name / "__init__.py").is_file():
                        yield package, f"{name}.{alias.name}".lstrip(".")
                    else:
                        yield package, name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                package, _, name = alias.name.partition(".")
                if package in PACKAGES:
                    yield package, name


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_it_may(module):
    found = list(imports_of(module))
    assert {name for _, name in found} <= ALLOWED.get(module, set())
    if module.startswith("stftgan_tf."):
        assert all(package == "stftgan_tf" for package, _ in found)


def test_shards_are_made_without_the_model():
    """Hand-overs are files; TFX alone takes the steps as functions."""
    shared = {"blessing", "cli", "config", "example_io", "features"}
    shared |= {"lineage", "pictures"}
    for module in MODULES:
        if module.startswith("pipeline.") and module != "pipeline.tfx_pipeline":
            theirs = {n for p, n in imports_of(module) if p == "stftgan_tf"}
            assert theirs <= shared, module


def test_the_arrows_have_no_cycle():
    arrows = {
        module: {f"{package}.{name}" for package, name in imports_of(module)}
        for module in MODULES
    }
    # Raises CycleError, which names it.
    graphlib.TopologicalSorter(arrows).prepare()


def loaded_by(statement):
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_packages_alone_load_nothing_heavy():
    loaded = loaded_by("import pipeline, stftgan_tf")
    assert not loaded & {"numpy", "tensorflow", "keras", "apache_beam"}


def test_sampling_loads_no_training_code():
    loaded = loaded_by("import stftgan_tf.sample")
    ours = {name for name in loaded if name.startswith("stftgan_tf.")}
    assert ours == {
        "stftgan_tf.cli",
        "stftgan_tf.config",
        "stftgan_tf.exported",
        "stftgan_tf.pictures",
        "stftgan_tf.sample",
    }
    assert "apache_beam" not in loaded
