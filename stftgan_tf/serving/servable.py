"""One loaded version of a model: its signatures, checked before they run."""

import contextlib
import gc
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from stftgan_tf.saved_model import loading as exported


class Refusal(Exception):
    """A request that is not served: a canonical code and one line."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code, self.message = code, " ".join(message.split())


def invalid(message: str) -> Refusal:
    """A request that can never be served."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, message)


class Gate:
    """Lets so many requests run and so many wait; others are refused.

    More at once are not faster, and memory stays bounded.
    """

    def __init__(self, running: int, waiting: int):
        self._places = threading.BoundedSemaphore(running + waiting)
        self._running = threading.BoundedSemaphore(running)

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Waits for its turn.

        Raises:
          Refusal: UNAVAILABLE, if too many wait already.
        """
        if not self._places.acquire(blocking=False):
            raise Refusal(
                grpc.StatusCode.UNAVAILABLE,
                "too many requests wait already; try again later",
            )
        try:
            with self._running:
                yield
        finally:
            self._places.release()


class Servable:
    """A version in memory.

    A session with a graph of its own, as in TensorFlow Serving: all of its
    memory is given back when it is closed.

    Attributes:
      version: its number.
      signatures: SignatureDef by name.
    """

    def __init__(self, path: Path, version: int, max_batch_size: int):
        """Loads a SavedModel and replays its warm-up requests.

        Raises:
          Exception: of many kinds, if it cannot be loaded or a warm-up
            request fails.
        """
        self.version, self._max_batch_size = version, max_batch_size
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():
                meta = tf.compat.v1.saved_model.load(
                    self._session, [tf.saved_model.SERVING], str(path)
                )
            # Without the one that initialises variables.
            self.signatures = {
                name: signature
                for name, signature in meta.signature_def.items()
                if not name.startswith("__")
            }
            for request in warmup_requests(path):
                inputs = {
                    name: tf.make_ndarray(value)
                    for name, value in request.inputs.items()
                }
                # An export's largest batch may be more than is allowed here.
                rows = [len(x) for x in inputs.values() if x.ndim]
                if max(rows, default=0) <= max_batch_size:
                    self.run(request.model_spec.signature_name, inputs)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Gives the memory back."""
        self._session.close()
        # A session and its graph refer to one another, so that they would stay
        # until Python looks for such circles.
        del self._session
        gc.collect()

    def signature(self, name: str):
        """The SignatureDef of a name; `serving_default` if it is empty.

        Raises:
          Refusal: FAILED_PRECONDITION, if there is none.
        """
        found = self.signatures.get(name or "serving_default")
        if found is None:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{name}" not found.',
            )
        return found

    def check_shape(self, name: str, info, shape: list[int]) -> None:
        """Raises Refusal if an input of that shape cannot be served."""
        if info.tensor_shape.unknown_rank:
            return
        wanted = [dim.size for dim in info.tensor_shape.dim]
        fits = len(shape) == len(wanted) and all(
            w in (-1, s) for w, s in zip(wanted, shape, strict=True)
        )
        if not fits:
            raise invalid(
                f"input {name} has shape {shape}; expected {wanted}, -1 being "
                "the number of rows"
            )
        if wanted and wanted[0] == -1:
            most = self._max_batch_size
            if not 1 <= shape[0] <= most:
                raise invalid(
                    f"input {name} has {shape[0]} rows; expected 1 to {most}"
                )

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        wanted: list[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
          signature_name: `serving_default` if empty.
          inputs: by name; those with a default may be left out.
          wanted: names of outputs; all of them if empty.

        Returns:
          Outputs by name.

        Raises:
          Refusal: if the signature cannot be run with these.
        """
        signature = self.signature(signature_name)
        self._check(signature, inputs)
        names = wanted or sorted(signature.outputs)
        for name in names:
            if name not in signature.outputs:
                known = ",".join(sorted(signature.outputs))
                raise invalid(
                    f"output tensor alias not found in signature: {name} "
                    f"Outputs expected to be in the set {{{known}}}."
                )
        if len(set(names)) < len(names):
            raise invalid(f"duplicate output tensor alias in {names}")
        feeds = {signature.inputs[k].name: v for k, v in inputs.items()}
        for name in signature.defaults:
            if name not in inputs:
                value = tf.make_ndarray(signature.defaults[name])
                feeds[signature.inputs[name].name] = value
        fetches = {name: signature.outputs[name].name for name in names}
        try:
            return self._session.run(fetches, feeds)
        except tf.errors.OpError as error:
            raise Refusal(_code_of(error), _reason(error)) from error

    def _check(self, signature, inputs: Mapping[str, np.ndarray]) -> None:
        """Raises Refusal where inputs are not what the signature takes."""
        check_names(signature, inputs)
        rows = {}
        for name, value in inputs.items():
            info = signature.inputs[name]
            dtype = tf.dtypes.as_dtype(info.dtype)
            if tf.dtypes.as_dtype(value.dtype) != dtype:
                given = tf.dtypes.as_dtype(value.dtype).name
                raise invalid(f"input {name} is {given}; expected {dtype.name}")
            self.check_shape(name, info, list(value.shape))
            if dtype.is_floating and not np.isfinite(value).all():
                raise invalid(f"input {name} has values that are not finite")
            # What has a default may be one row for all.
            if value.ndim and (
                len(value) > 1 or name not in signature.defaults
            ):
                rows[name] = len(value)
        if len(set(rows.values())) > 1:
            told = ", ".join(f"{name} {n}" for name, n in rows.items())
            raise invalid(f"inputs differ in their number of rows: {told}")


def check_names(signature, given: Iterable[str]) -> None:
    """Raises Refusal where inputs are missing or unknown."""
    extra = sorted(set(given) - set(signature.inputs))
    required = set(signature.inputs) - set(signature.defaults)
    missing = sorted(required - set(given))
    if extra or missing:
        raise invalid(
            "input size does not match signature: "
            f"{len(set(given))}!={len(signature.inputs)} "
            f"len({{{','.join(sorted(given))}}}) != "
            f"len({{{','.join(sorted(signature.inputs))}}}). "
            f"Sent extra: {{{','.join(extra)}}}. "
            f"Missing but required: {{{','.join(missing)}}}."
        )


def _reason(error: tf.errors.OpError) -> str:
    """The line that tells what was wrong; TensorFlow puts others around it."""
    around = ("Graph execution error", "Detected at", "Original stack", "[[")
    for line in (error.message or "").splitlines():
        line = line.strip()
        if line and not line.startswith(around):
            return line
    return "the graph cannot be run with these inputs"


def _code_of(error: tf.errors.OpError) -> grpc.StatusCode:
    for code in grpc.StatusCode:
        if code.value[0] == error.error_code:
            return code
    return grpc.StatusCode.INTERNAL


def warmup_requests(path: Path) -> Iterator:
    """PredictRequests that come with an export, if any."""
    file = path / exported.WARMUP
    if not file.is_file():
        return
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        yield log.predict_log.request
