"""Files of an export that TensorFlow Serving reads."""

from pathlib import Path

import tensorflow as tf

from stftgan_tf.saved_model import export_files, loading

BATCHING = "batching_parameters.txt"

# Batch sizes to which a server pads the requests that it merges.
BATCH_SIZES = (1, 2, 4, 8, 16, 32)


def batching_parameters() -> str:
    """TensorFlow Serving's --batching_parameters_file.

    Waiting 2 ms for other requests is short compared with the generation.
    """
    lines = [
        f"max_batch_size {{ value: {BATCH_SIZES[-1]} }}",
        "batch_timeout_micros { value: 2000 }",
        "max_enqueued_batches { value: 64 }",
        "num_batch_threads { value: 2 }",
        *(f"allowed_batch_sizes: {size}" for size in BATCH_SIZES),
    ]
    return "\n".join(lines) + "\n"


def write_warmup(export: Path) -> bool:
    """Writes requests that a server replays before it accepts others.

    There is one for each batch size, and one for each other signature.

    Returns:
      Whether they were written; they need the extra `serving`.
    """
    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError:
        return False
    path = export / export_files.WARMUP
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, signature in loading.signature_defs(export).items():
            sizes = BATCH_SIZES if name == "serving_default" else (1,)
            for size in sizes:
                log = prediction_log_pb2.PredictionLog()
                request = log.predict_log.request
                request.model_spec.signature_name = name
                inputs = loading.example_inputs(signature, size)
                for key, value in inputs.items():
                    request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
                writer.write(log.SerializeToString())
    return True
