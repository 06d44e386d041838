"""One loaded version of a model, which checks inputs before it runs."""

import gc
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from stftgan_tf.saved_model import export_files
from stftgan_tf.serving import about
from stftgan_tf.serving.errors import RequestError, invalid_argument

SignatureDef = meta_graph_pb2.SignatureDef
TensorInfo = meta_graph_pb2.TensorInfo

# Lines of a TensorFlow error that do not give the reason.
_CONTEXT_LINES = (
    "Graph execution error",
    "Detected at",
    "Original stack",
    "[[",
)

_MAX_CALLABLES = 100


class ModelVersion:
    """One version of a model in memory.

    Each version has its own graph and session, as in TensorFlow Serving, so
    closing it frees all of its memory.

    Attributes:
      version: the version number.
      max_batch_size: the maximum number of rows in a request.
      signatures: SignatureDefs by name.
      about: what the listening page shows; see `about.about`.
    """

    def __init__(
        self,
        path: Path,
        version: int,
        max_batch_size: int,
        warm_up: bool = True,
    ):
        """Loads a SavedModel and replays its warm-up requests.

        Raises:
          Exception: of any type, if the SavedModel cannot be loaded or a
            warm-up request fails.
        """
        self.version, self.max_batch_size = version, max_batch_size
        self.about = about.about(path)
        self._is_export = (path / export_files.METADATA).is_file()
        self._callables: dict[tuple, Callable[..., list]] = {}
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(
                    self._session, [tf.saved_model.SERVING], str(path)
                )
            # "__saved_model_init_op" initializes variables; it is not served.
            self.signatures = {
                name: signature
                for name, signature in meta_graph.signature_def.items()
                if not name.startswith("__")
            }
            if warm_up:
                self._warm_up(path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Frees the memory."""
        self._callables.clear()
        self._session.close()
        # A session and its graph refer to each other, so only the garbage
        # collector can free them.
        del self._session
        gc.collect()

    def signature(self, name: str) -> SignatureDef:
        """Returns a signature; `serving_default` if the name is empty.

        Raises:
          RequestError: FAILED_PRECONDITION, if it does not exist.
        """
        signature = self.signatures.get(name or "serving_default")
        if signature is None:
            raise RequestError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{name}" not found.',
            )
        return signature

    def check_shape(
        self, name: str, info: TensorInfo, shape: Sequence[int]
    ) -> None:
        """Raises RequestError if the shape of an input does not fit.

        As in TensorFlow Serving, it is the graph that accepts or refuses a
        shape. Only exports of this project are checked before any value is
        converted: their graphs accept no other shape, and say so less clearly.
        """
        expected = [dim.size for dim in info.tensor_shape.dim]
        fits = len(shape) == len(expected) and all(
            expected_size in (-1, size)
            for expected_size, size in zip(expected, shape, strict=True)
        )
        if self._is_export and not fits:
            raise invalid_argument(
                f"input {name} has shape {list(shape)}; expected {expected}, "
                "where -1 is the number of rows"
            )
        least = 1 if self._is_export else 0
        rows = shape[0] if shape and expected[:1] == [-1] else least
        if not least <= rows <= self.max_batch_size:
            raise invalid_argument(
                f"input {name} has {rows} rows; expected {least} to "
                f"{self.max_batch_size}"
            )

    def check_values(self, count: int) -> None:
        """Raises RequestError if a request has more values than any signature.

        Only exports of this project are checked, as by `check_shape`.
        """
        most = self._max_values()
        if self._is_export and count > most:
            raise invalid_argument(
                f"the request has {count} values; expected at most {most}, for "
                f"{self.max_batch_size} rows"
            )

    def _max_values(self) -> int:
        """The number of values of the largest request, and some names."""
        values = [
            sum(_values_per_row(info) for info in signature.inputs.values())
            for signature in self.signatures.values()
        ]
        return self.max_batch_size * max(values, default=0) + 1000

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_names: Sequence[str] = (),
        timeout_ms: int = 0,
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
          signature_name: the signature; `serving_default` if empty.
          inputs: arrays by name; inputs with a default are optional.
          output_names: the outputs to compute; all of them if empty.
          timeout_ms: the time after which the graph is stopped; 0 for none.

        Returns:
          Outputs by name.

        Raises:
          RequestError: if the signature cannot run with these inputs.
        """
        signature = self.signature(signature_name)
        self._check_inputs(signature, inputs)
        _check_output_names(signature, output_names)
        feeds = {
            signature.inputs[name].name: tf.make_ndarray(default)
            for name, default in signature.defaults.items()
        }
        feeds |= {signature.inputs[k].name: v for k, v in inputs.items()}
        fetches = {
            name: signature.outputs[name].name
            for name in output_names or signature.outputs
        }
        try:
            values = self._run_graph(feeds, set(fetches.values()), timeout_ms)
        except tf.errors.OpError as error:
            raise RequestError(_status_code(error), _reason(error)) from error
        return {name: values[fetches[name]] for name in fetches}

    def _run_graph(
        self,
        feeds: Mapping[str, np.ndarray],
        fetches: Iterable[str],
        timeout_ms: int,
    ) -> dict[str, np.ndarray]:
        """The values of tensors by their names in the graph.

        `Session.run` would refuse shapes other than the placeholders'.
        """
        key = tuple(sorted(feeds)), tuple(sorted(fetches)), timeout_ms
        run = self._callables.get(key)
        if run is None:
            options = config_pb2.CallableOptions(feed=key[0], fetch=key[1])
            options.run_options.timeout_in_ms = timeout_ms
            run = self._session._make_callable_from_options(options)
            # Clients choose the outputs, so there may be many sets of them.
            if len(self._callables) >= _MAX_CALLABLES:
                self._callables.clear()
            self._callables[key] = run
        values = run(*(feeds[name] for name in key[0]))
        return dict(zip(key[1], map(_as_array, values), strict=True))

    def _warm_up(self, path: Path) -> None:
        for request in warmup_requests(path):
            inputs = {
                name: tf.make_ndarray(value)
                for name, value in request.inputs.items()
            }
            # Exports contain batches that may exceed this server's limit.
            rows = [len(value) for value in inputs.values() if value.ndim]
            if max(rows, default=0) <= self.max_batch_size:
                self.run(request.model_spec.signature_name, inputs)

    def _check_inputs(
        self, signature: SignatureDef, inputs: Mapping[str, np.ndarray]
    ) -> None:
        """Raises RequestError if inputs do not match the signature."""
        check_input_names(signature, inputs)
        for name, value in inputs.items():
            self._check_input(name, signature.inputs[name], value)

    def _check_input(
        self, name: str, info: TensorInfo, value: np.ndarray
    ) -> None:
        expected = tf.dtypes.as_dtype(info.dtype)
        dtype = tf.dtypes.as_dtype(value.dtype)
        if dtype != expected:
            raise invalid_argument(
                f"input {name} is {dtype.name}; expected {expected.name}"
            )
        self.check_shape(name, info, value.shape)


def _values_per_row(info: TensorInfo) -> int:
    return math.prod(dim.size for dim in info.tensor_shape.dim[1:])


def check_input_names(signature: SignatureDef, names: Iterable[str]) -> None:
    """Raises RequestError if inputs are missing or unknown."""
    names = set(names)
    extra = sorted(names - set(signature.inputs))
    required = set(signature.inputs) - set(signature.defaults)
    missing = sorted(required - names)
    if extra or missing:
        raise invalid_argument(
            "input size does not match signature: "
            f"{len(names)}!={len(signature.inputs)} "
            f"len({{{','.join(sorted(names))}}}) != "
            f"len({{{','.join(sorted(signature.inputs))}}}). "
            f"Sent extra: {{{','.join(extra)}}}. "
            f"Missing but required: {{{','.join(missing)}}}."
        )


def warmup_requests(path: Path) -> Iterator[predict_pb2.PredictRequest]:
    """Yields the warm-up requests of an export, if it contains any."""
    file = path / export_files.WARMUP
    if not file.is_file():
        return
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        yield log.predict_log.request


def _as_array(value: Any) -> np.ndarray:
    """A value of the graph; that of a scalar string is `bytes`."""
    if isinstance(value, bytes):
        return np.array(value, object)
    return np.asarray(value)


def _check_output_names(signature: SignatureDef, names: Sequence[str]) -> None:
    for position, name in enumerate(names):
        if name not in signature.outputs:
            known = ",".join(sorted(signature.outputs))
            raise invalid_argument(
                f"output tensor alias not found in signature: {name} "
                f"Outputs expected to be in the set {{{known}}}."
            )
        if name in names[:position]:
            raise invalid_argument(f"duplicate output tensor alias: {name}")


def _reason(error: tf.errors.OpError) -> str:
    """The line of a TensorFlow error that says what is wrong."""
    for line in (error.message or "").splitlines():
        line = line.strip()
        if line and not line.startswith(_CONTEXT_LINES):
            return line
    return "the graph failed with these inputs"


def _status_code(error: tf.errors.OpError) -> grpc.StatusCode:
    for code in grpc.StatusCode:
        if code.value[0] == error.error_code:
            return code
    return grpc.StatusCode.INTERNAL
