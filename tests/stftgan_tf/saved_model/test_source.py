import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf.dsp.moments import Moments
from stftgan_tf.models import networks
from stftgan_tf.saved_model import source, writing
from stftgan_tf.training import checkpoints, run_dir


@pytest.mark.parametrize("scale", [1.25, None])
def test_latents_are_scaled_once_as_the_watch_measured(
    trained_run, tmp_path, tiny, scale
):
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    for path in run.glob("checkpoints/*/state.json"):
        state = json.loads(path.read_text())
        # Runs of earlier versions have none.
        del state["watch"]["metrics"]["latent_scale"]
        if scale:
            state["watch"]["metrics"]["latent_scale"] = scale
        path.write_text(json.dumps(state))
    _, manifest = run_dir.open_run(run)
    moments = Moments.from_dict(manifest["moments"])
    plain = networks.build_generator(tiny, moments=moments)
    checkpoints.restore_average(run / "checkpoints", plain)
    latent = tf.random.stateless_normal([2, tiny.model.latent_dim], [0, 0])
    expected = plain((scale or 1.0) * latent)
    writing.export(run, tmp_path / "export")
    for path in (run, tmp_path / "export"):
        windows = source.load(path).generator(latent)
        np.testing.assert_allclose(windows, expected, atol=1e-6)
