"""TensorFlow Serving's gRPC interface: prediction, status, health."""

import logging
import math
import time
from concurrent import futures

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import any_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from stftgan_tf.serving import monitoring
from stftgan_tf.serving.servable import (
    Gate,
    Refusal,
    Servable,
    check_names,
    invalid,
)
from stftgan_tf.serving.versions import Versions

_LOG = logging.getLogger(__name__)

_MAX_ELEMENTS = 2**24


def server(
    versions: Versions,
    gate: Gate,
    monitor: monitoring.Monitor,
    max_request_bytes: int,
    threads: int,
) -> grpc.Server:
    """A gRPC server without a port yet."""
    made = grpc.server(
        futures.ThreadPoolExecutor(threads),
        options=[
            ("grpc.max_receive_message_length", max_request_bytes),
            ("grpc.max_send_message_length", -1),
            # Two servers must not share a port without knowing.
            ("grpc.so_reuseport", 0),
        ],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _Prediction(versions, gate, monitor), made
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        _Model(versions), made
    )
    healthy = health.HealthServicer()
    states = health_pb2.HealthCheckResponse
    versions.tell_of_change(
        lambda serves: healthy.set(
            "", states.SERVING if serves else states.NOT_SERVING
        )
    )
    health_pb2_grpc.add_HealthServicer_to_server(healthy, made)
    return made


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    """What it does not override is answered with UNIMPLEMENTED."""

    def __init__(
        self, versions: Versions, gate: Gate, monitor: monitoring.Monitor
    ):
        self._versions, self._gate, self._monitor = versions, gate, monitor

    def Predict(self, request, context):  # noqa: N802
        """Runs a signature."""
        start, code = time.perf_counter(), "INTERNAL"
        try:
            answer = self._predict(request, context)
            code = "OK"
            return answer
        except Refusal as refusal:
            code = refusal.code.name
            context.abort(refusal.code, refusal.message)
        # A fault of ours: the server goes on.
        except Exception:
            _LOG.exception("Predict failed")
            context.abort(grpc.StatusCode.INTERNAL, "internal error")
        finally:
            self._monitor.count("Predict", "GRPC", code, start)

    def _predict(self, request, context) -> predict_pb2.PredictResponse:
        name, version = _asked(request)
        signature_name = request.model_spec.signature_name
        with self._versions.borrowed(name, version) as servable, self._gate():
            if not context.is_active():
                raise Refusal(grpc.StatusCode.CANCELLED, "nobody waits for it")
            inputs = _arrays(request.inputs, servable, signature_name)
            outputs = servable.run(
                signature_name, inputs, list(request.output_filter)
            )
        answer = predict_pb2.PredictResponse()
        answer.model_spec.name = name
        answer.model_spec.version.value = servable.version
        answer.model_spec.signature_name = signature_name or "serving_default"
        for key, value in outputs.items():
            answer.outputs[key].CopyFrom(_proto(value))
        return answer

    def GetModelMetadata(self, request, context):  # noqa: N802
        """The signatures."""
        try:
            return self._metadata(request)
        except Refusal as refusal:
            context.abort(refusal.code, refusal.message)

    def _metadata(self, request):
        name, version = _asked(request)
        if not request.metadata_field:
            raise invalid(
                "GetModelMetadataRequest must specify at least one "
                "metadata_field"
            )
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        with self._versions.borrowed(name, version) as servable:
            answer.model_spec.name = name
            answer.model_spec.version.value = servable.version
            packed = any_pb2.Any()
            packed.Pack(
                get_model_metadata_pb2.SignatureDefMap(
                    signature_def=servable.signatures
                )
            )
        answer.metadata["signature_def"].CopyFrom(packed)
        return answer


class _Model(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, versions: Versions):
        self._versions = versions

    def GetModelStatus(self, request, context):  # noqa: N802
        """States of the versions, newest first."""
        answer = get_model_status_pb2.GetModelStatusResponse()
        try:
            for status in self._versions.statuses(*_asked(request)):
                state = get_model_status_pb2.ModelVersionStatus.State
                told = answer.model_version_status.add()
                told.version = status.version
                told.state = state.Value(status.state)
                told.status.error_code = grpc.StatusCode[status.code].value[0]
                told.status.error_message = status.message
        except Refusal as refusal:
            context.abort(refusal.code, refusal.message)
        return answer


def _proto(value: np.ndarray) -> tensor_pb2.TensorProto:
    """A tensor as TensorFlow Serving answers: clients read `float_val`."""
    if value.dtype != np.float32:
        return tf.make_tensor_proto(value)
    made = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum)
    for size in value.shape:
        made.tensor_shape.dim.add(size=size)
    made.float_val.extend(value.ravel().tolist())
    return made


def _asked(request) -> tuple[str, int | None]:
    """Name and version of a request's model."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec = request.model_spec
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")
    if spec.WhichOneof("version_choice") == "version_label":
        raise invalid(
            f"Unrecognized servable version label: {spec.version_label}"
        )
    return spec.name, spec.version.value if spec.HasField("version") else None


def _arrays(protos, servable: Servable, signature_name: str):
    """Arrays of a request's tensors.

    Names and shapes are checked first: a message of some bytes can stand for
    a tensor of any size.

    Raises:
      Refusal: if one cannot be served.
    """
    signature = servable.signature(signature_name)
    check_names(signature, protos)
    found = {}
    for name, proto in protos.items():
        shape = [dim.size for dim in proto.tensor_shape.dim]
        servable.check_shape(name, signature.inputs[name], shape)
        if math.prod(shape) > _MAX_ELEMENTS:
            raise invalid(f"input {name} has shape {shape}: too large")
        try:
            found[name] = tf.make_ndarray(proto)
        # Of many kinds, as damaged messages are.
        except (TypeError, ValueError, KeyError) as error:
            raise invalid(f"tensor parsing error: {name}: {error}") from error
    return found
