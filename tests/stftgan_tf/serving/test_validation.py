import dataclasses
import json
import shutil

import pytest
import tensorflow as tf

from stftgan_tf.saved_model import export_files, loading
from stftgan_tf.serving import validation


class BrokenExport(tf.Module):
    """Signatures that are all broken, each in a different way."""

    INPUTS = {
        "serving_default": {"seed": tf.int64},
        "sample": {"seed": tf.int64, "truncation": tf.float32},
        "interpolate": {
            "seed_a": tf.int64,
            "seed_b": tf.int64,
            "weight": tf.float32,
        },
        "generate": {"latent": tf.float32},
        "long": {"seed": tf.int64},
    }

    def __init__(self, metadata):
        super().__init__()
        self._metadata = metadata

    def signatures(self):
        return {name: self._function(name) for name in self.INPUTS}

    def _function(self, name):
        def call(**inputs):
            rows = tf.shape(next(iter(inputs.values())))[0]
            audio = self._audio(name, rows)
            outputs = {"audio": audio, "wav_bytes": tf.fill([rows], "RIFF")}
            if name != "long":
                shape = [rows, *self._metadata["window_shape"]]
                outputs["window"] = tf.zeros(shape)
            return outputs

        shape = [None, 8] if name == "generate" else [None]
        return tf.function(call).get_concrete_function(
            **{
                key: tf.TensorSpec(shape, dtype, key)
                for key, dtype in self.INPUTS[name].items()
            }
        )

    def _audio(self, name, rows):
        samples = self._metadata["samples"]
        audio = tf.zeros([rows, samples])
        if name == "serving_default":
            return tf.math.log(audio) * 0
        if name == "sample":
            return tf.random.normal([rows, samples])
        if name == "interpolate":
            return audio[:, 1:]
        if name == "generate":
            check = tf.debugging.Assert(rows < 0, ["out of order"])
            with tf.control_dependencies([check]):
                return tf.identity(audio)
        return audio


@pytest.fixture
def broken(export, tmp_path):
    """A loaded export whose signatures are all broken."""
    metadata = json.loads((export / loading.METADATA).read_text())
    module = BrokenExport(metadata)
    tf.saved_model.save(module, str(tmp_path), module.signatures())
    shutil.copy(export / loading.METADATA, tmp_path)
    return loading.load(tmp_path)


def test_every_problem_of_every_signature_is_reported(broken):
    problems = validation.check_model(broken, max_latency_ms=60000)
    samples = broken.metadata["samples"]
    for name, problem in {
        "serving_default": "audio has values that are not finite",
        "sample": "audio differs between two identical calls",
        "interpolate": f"audio has shape (1, {samples - 1}); expected (1, ",
        "generate": "fails: ",
        "long": f"audio has shape (1, {samples}); expected (1, ",
    }.items():
        matches = [p for p in problems if p.startswith(f"{name} with 1 rows")]
        assert len(matches) == 1 and problem in matches[0], problems
    assert len(problems) == 10


@pytest.mark.parametrize("damage", ["truncated", "no such signature"])
def test_warm_up_requests_that_fail_are_reported(
    export, model, tmp_path, damage
):
    apis = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    damaged = shutil.copytree(export, tmp_path / "damaged")
    requests = damaged / export_files.WARMUP
    if damage == "truncated":
        requests.write_bytes(requests.read_bytes()[:-5])
    else:
        log = apis.PredictionLog()
        log.predict_log.request.model_spec.signature_name = damage
        with tf.io.TFRecordWriter(str(requests)) as writer:
            writer.write(log.SerializeToString())
    # The signatures are the same; only the requests are damaged.
    damaged_model = dataclasses.replace(model, path=damaged)
    (problem,) = validation.check_model(damaged_model, 60000)
    assert "warmup_requests cannot be replayed: " in problem


def test_a_slow_export_is_reported(model):
    (problem,) = validation.check_model(model, max_latency_ms=0.001)
    assert "one sample takes" in problem
