"""The public Python API, and the notebook that uses it."""

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest

import stftgan_tf as stftgan
from stftgan_tf.errors import UserError
from tests.conftest import ROOT

# Smallest sizes; the notebook's own take minutes.
SIZES = "SOURCE, CONFIG, STEPS = {source!r}, 'tiny', 20"


def test_every_public_name_is_documented():
    page = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
    for name in stftgan.__all__:
        assert inspect.getdoc(getattr(stftgan, name)), name
        assert f"{name}(" in page, name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'sampel'"):
        stftgan.sampel  # noqa: B018


def test_commands_are_also_functions():
    from stftgan_tf import train

    assert callable(train.main)
    parameters = list(inspect.signature(train).parameters)
    assert parameters[:3] == ["config", "data", "run"]


def test_commands_are_functions_after_another_import():
    code = "import stftgan_tf.export; stftgan_tf.export('a', 'b', secs=-1)"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert "UsageError: secs is -1" in process.stderr, process.stderr


def test_keras_fit_trains_on_the_stream_of_windows(shards, tiny):
    model = stftgan.build(tiny, shards)
    batches = stftgan.open_dataset(str(shards), tiny)
    history = model.fit(batches, steps_per_epoch=2, verbose=0).history
    assert np.isfinite(history["critic_loss"]).all()
    windows_alone = batches.map(lambda windows, labels: windows)
    model.fit(windows_alone, steps_per_epoch=1, verbose=0)
    assert int(model.step) == 3


def test_a_conditional_model_requires_its_data_set():
    config = stftgan.load_config("tiny", ["model.condition=label"])
    with pytest.raises(UserError, match="pass the data set"):
        stftgan.build(config)


def test_a_model_returns_numpy_audio(export):
    model = stftgan.load_model(export)
    audio = model.sample(3, seed=5)
    assert audio.dtype == np.float32 and audio.shape[0] == 3
    np.testing.assert_array_equal(audio[1], model.sample(1, seed=6)[0])
    path = model.interpolate(5, 6, num=3)
    np.testing.assert_allclose(path[0], audio[0], atol=1e-5)
    secs = model.long(secs=1).shape[1] / model.sample_rate_hz
    assert secs == pytest.approx(1, abs=1e-3)


def test_a_missing_package_names_its_extra():
    code = (
        "import sys; sys.modules['apache_beam'] = None\n"
        "import stftgan_tf as stftgan\n"
        "stftgan.preprocess('x', 'y', stftgan.load_config('tiny'))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert "install the extra 'pipeline'" in process.stderr


@pytest.mark.slow
def test_the_notebook_runs(recordings, tmp_path):
    pytest.importorskip("IPython")
    path = ROOT / "examples" / "notebook.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = [
        "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"
    ]
    assert sources[0].startswith("SOURCE")
    sources.insert(1, SIZES.format(source=str(recordings)))
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join(sources), encoding="utf-8")
    process = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "MPLBACKEND": "agg"},
    )
    assert process.returncode == 0, process.stderr[-2000:]
    assert "BLESSED" in process.stdout
