"""Small models to compare servers with, as those of TensorFlow Serving."""

from pathlib import Path

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1

TYPES = (
    "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
    "bool string"
).split()


def save_half_plus_two(path: Path) -> None:
    """y = x / 2 + 2 and y3 = x2 / 2 + 3, with signatures of all methods.

    A further one, `scaled`, multiplies by a factor, which is 10 by default.
    """
    methods = v1.saved_model.signature_constants
    with tf.Graph().as_default(), v1.Session() as session:
        half = v1.get_variable("half", initializer=0.5)
        example = v1.placeholder(tf.string, [None], "tf_example")
        features = tf.io.parse_example(
            example,
            {
                "x": tf.io.FixedLenFeature([1], tf.float32),
                "x2": tf.io.FixedLenFeature([1], tf.float32, [0.0]),
            },
        )
        x, x2 = (tf.identity(features[k], k) for k in ("x", "x2"))
        y, y3 = x * half + 2.0, x2 * half + 3.0
        factor = v1.placeholder(tf.float32, name="factor")
        predict, regress, classify = (
            methods.PREDICT_METHOD_NAME,
            methods.REGRESS_METHOD_NAME,
            methods.CLASSIFY_METHOD_NAME,
        )
        signatures = {
            "serving_default": ({"x": x}, {"y": y}, predict),
            "scaled": ({"x": x, "factor": factor}, {"y": x * factor}, predict),
            "regress_x_to_y": ({"inputs": example}, {"outputs": y}, regress),
            "regress_x2_to_y3": ({"inputs": x2}, {"outputs": y3}, regress),
            "classify_x_to_y": ({"inputs": example}, {"scores": y}, classify),
            "classify_x2_to_y3": ({"inputs": x2}, {"scores": y3}, classify),
        }
        definitions = {
            name: v1.saved_model.build_signature_def(
                _tensor_infos(inputs), _tensor_infos(outputs), method
            )
            for name, (inputs, outputs, method) in signatures.items()
        }
        default = tf.make_tensor_proto(np.float32(10))
        definitions["scaled"].defaults["factor"].CopyFrom(default)
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session, [tf.saved_model.SERVING], definitions
        )
        builder.save()


def _tensor_infos(tensors):
    return {k: v1.saved_model.build_tensor_info(v) for k, v in tensors.items()}


def save_half_plus(path: Path, summand: float) -> None:
    """y = x / 2 + summand; x is a scalar, according to the signature."""
    module = tf.Module()
    module.call = tf.function(
        lambda x: {"y": x / 2 + summand},
        input_signature=[tf.TensorSpec([], tf.float32, "x")],
    )
    tf.saved_model.save(module, str(path), {"serving_default": module.call})


def save_echo(path: Path) -> None:
    """Signatures that answer with what they receive, in many ways."""
    module = tf.Module()
    module.functions = {
        **{name: _function(_same, x=name) for name in TYPES},
        "bytes": _function(lambda x: {"y_bytes": x}, x="string"),
        "several": _function(
            _several,
            int_tensor="int32",
            str_tensor="string",
            float_tensor="float32",
            dbl_tensor="float64",
        ),
        "rows": _function(_rows, size="int32"),
        "scalar": _function(lambda x: {"y": tf.reduce_sum(x)}, x="float32"),
        "uneven": _function(lambda x: {"y": x, "z": x[:1]}, x="float32"),
        "complex": _function(lambda x: {"y": tf.complex(x, -x)}, x="float32"),
        "inverse": _function(lambda x: {"y": 1 / x}, x="float32"),
        "sum": _function(lambda a, b: {"y": a + b}, a="float32", b="float32"),
        "check": _function(_check, x="float32"),
        "none": _function(lambda: {"y": tf.constant([7.0])}),
    }
    signatures = {
        "serving_default": module.functions["float32"],
        **module.functions,
    }
    tf.saved_model.save(module, str(path), signatures)


def _function(call, **types):
    """A concrete function whose inputs may have any shape."""
    specs = [tf.TensorSpec(None, dtype, name) for name, dtype in types.items()]
    return tf.function(call, input_signature=specs).get_concrete_function()


def _same(x):
    return {"y": tf.identity(x)}


def _several(int_tensor, str_tensor, float_tensor, dbl_tensor):
    return {
        "int": tf.identity(int_tensor),
        "str": tf.identity(str_tensor),
        "str_bytes": tf.identity(str_tensor),
        "float": tf.identity(float_tensor),
        "dbl": tf.identity(dbl_tensor),
    }


def _rows(size):
    """As many rows as `size` says, of two columns."""
    return {"y": tf.zeros([size[0], 2], np.int32), "z": tf.zeros([size[0]])}


def _check(x):
    tf.debugging.assert_positive(x, "x must be positive")
    return {"y": tf.identity(x)}
