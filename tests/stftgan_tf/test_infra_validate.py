import json
import shutil

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from stftgan_tf import infra_validate
from stftgan_tf.saved_model import loading as exported
from tests.conftest import run_command


def run(model, *more):
    """In a process of its own: XLA stays off for good."""
    return run_command("stftgan_tf.infra_validate", f"--model={model}", *more)


def test_an_export_is_blessed(export, tmp_path):
    output = tmp_path / "infra"
    done = run(export, f"--output={output}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "INFRA_BLESSED\n"
    assert (output / "INFRA_BLESSED").is_file()
    verdict = json.loads((output / "infra.json").read_text())
    assert verdict["blessed"] is True and verdict["problems"] == []


class Broken(tf.Module):
    """The signatures of an export, with audio that is no good."""

    def __init__(self, kind, metadata):
        super().__init__()
        self._kind, self._metadata = kind, metadata

    def outputs(self, rows, samples):
        audio = tf.zeros([rows, samples])
        if self._kind == "not finite":
            audio = tf.math.log(audio) * 0
        elif self._kind == "fails: ":
            with tf.control_dependencies(
                [tf.debugging.Assert(rows < 0, ["out of order"])]
            ):
                audio = tf.identity(audio)
        elif self._kind == "differs from call":
            audio = tf.random.normal([rows, samples])
        elif self._kind == "expected (1, ":
            audio = audio[:, 1:]
        wav = tf.fill([rows], "RIFF")
        return {"audio": audio, "wav_bytes": wav}

    def signatures(self):
        frames, bins = self._metadata["window_shape"]
        specs = {
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

        def of(name, inputs):
            def call(**given):
                rows = tf.shape(next(iter(given.values())))[0]
                if name == "long":
                    return self.outputs(rows, self._metadata["long_samples"])
                made = self.outputs(rows, self._metadata["samples"])
                return made | {"window": tf.zeros([rows, frames, bins])}

            shape = [None, 8] if name == "generate" else [None]
            return tf.function(call).get_concrete_function(
                **{k: tf.TensorSpec(shape, t, k) for k, t in inputs.items()}
            )

        return {name: of(name, inputs) for name, inputs in specs.items()}


@pytest.mark.parametrize(
    "kind", ["not finite", "differs from call", "expected (1, ", "fails: "]
)
def test_what_cannot_be_served_is_not_blessed(export, tmp_path, kind):
    metadata = json.loads((export / exported.METADATA).read_text())
    broken, model = Broken(kind, metadata), tmp_path / "model"
    tf.saved_model.save(broken, str(model), broken.signatures())
    shutil.copy(export / exported.METADATA, model)
    done = run(model, f"--output={tmp_path / 'infra'}")
    assert done.returncode == 1
    assert kind in done.stderr and done.stderr.count("error: ") == 1
    assert (tmp_path / "infra" / "INFRA_NOT_BLESSED").is_file()


@pytest.mark.parametrize("damage", ["cut", "no such signature"])
def test_warm_up_requests_that_fail_are_not_blessed(export, tmp_path, damage):
    model = shutil.copytree(export, tmp_path / "model")
    requests = model / exported.WARMUP
    if damage == "cut":
        requests.write_bytes(requests.read_bytes()[:-5])
    else:
        log = prediction_log_pb2.PredictionLog()
        log.predict_log.request.model_spec.signature_name = damage
        with tf.io.TFRecordWriter(str(requests)) as writer:
            writer.write(log.SerializeToString())
    done = run(model)
    assert done.returncode == 1
    assert "warmup_requests cannot be replayed: " in done.stderr


def test_a_budget_of_time_is_kept(export):
    done = run(export, "--max_latency_ms=0.001")
    assert done.returncode == 1
    assert "a sample takes" in done.stderr


def test_a_damaged_export_is_refused(export, tmp_path, capsys):
    model = shutil.copytree(export, tmp_path / "model")
    (model / "saved_model.pb").write_bytes(b"damaged")
    output = tmp_path / "infra"
    output.mkdir()
    for name in ("infra.json", "INFRA_BLESSED"):
        (output / name).touch()
    args = [f"--model={model}", f"--output={output}"]
    assert infra_validate.main(args) == 1
    assert "damaged" in capsys.readouterr().err
    # An earlier verdict does not stand.
    names = sorted(path.name for path in output.iterdir())
    assert names == ["INFRA_NOT_BLESSED", "infra.json"]
