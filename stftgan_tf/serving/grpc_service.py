"""TensorFlow Serving's gRPC API: prediction, model status and health."""

import asyncio
import functools
import logging
import threading
import time
from concurrent import futures

import grpc
from google.protobuf import any_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from stftgan_tf.serving.errors import (
    RequestError,
    invalid_argument,
    outcome_of,
)
from stftgan_tf.serving.limiter import RequestLimiter
from stftgan_tf.serving.models import Models
from stftgan_tf.serving.monitoring import RequestMetrics
from stftgan_tf.serving.options import ServerOptions
from stftgan_tf.serving.tensor_protos import to_arrays, to_proto

_LOG = logging.getLogger(__name__)

# A connection is closed, once its requests have ended, when it is this old;
# clients connect again by themselves. Streams that never send anything end
# with their connection.
_MAX_AGE_SECS, _AGE_GRACE_SECS = 600, 30

# Names of the server as a whole and of its services in health checks.
_SERVICES = (
    "",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
)

# TensorFlow Serving cuts messages of errors at this length; a client may
# refuse headers that are much longer.
_MAX_MESSAGE = 1024


def create_server(
    models: Models,
    limiter: RequestLimiter,
    metrics: RequestMetrics,
    options: ServerOptions,
) -> grpc.aio.Server:
    """Returns a gRPC server that has no port yet.

    Must be called in the thread of the running event loop. Waiting for a
    client needs no thread, so silent clients cannot block others.
    """
    arguments = {
        "grpc.max_receive_message_length": options.max_request_bytes,
        "grpc.max_send_message_length": -1,
        "grpc.max_connection_age_ms": 1000 * _MAX_AGE_SECS,
        "grpc.max_connection_age_grace_ms": 1000 * _AGE_GRACE_SECS,
        # Otherwise two servers could share a port without noticing.
        "grpc.so_reuseport": 0,
    }
    arguments |= dict(options.grpc_channel_arguments)
    server = grpc.aio.server(options=list(arguments.items()))
    threads = futures.ThreadPoolExecutor(options.threads)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _PredictionService(models, limiter, metrics, threads), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        _ModelService(models), server
    )
    _add_health_service(models, server)
    return server


def _add_health_service(models: Models, server: grpc.aio.Server) -> None:
    servicer = health.aio.HealthServicer()
    states = health_pb2.HealthCheckResponse
    loop = asyncio.get_running_loop()

    async def set_state(state: int) -> None:
        for service in _SERVICES:
            await servicer.set(service, state)

    def changed(available: bool) -> None:
        state = states.SERVING if available else states.NOT_SERVING
        # Versions change in another thread.
        asyncio.run_coroutine_threadsafe(set_state(state), loop)

    models.on_change(changed)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """The prediction service; other methods return UNIMPLEMENTED."""

    def __init__(
        self,
        models: Models,
        limiter: RequestLimiter,
        metrics: RequestMetrics,
        threads: futures.Executor,
    ):
        self._models, self._limiter = models, limiter
        self._metrics, self._threads = metrics, threads

    async def Predict(self, request, context):  # noqa: N802
        """Runs a signature in a thread."""
        start, code = time.perf_counter(), "INTERNAL"
        gone = threading.Event()
        predict = functools.partial(self._predict, request, gone)
        try:
            outcome = await asyncio.get_running_loop().run_in_executor(
                self._threads, outcome_of, predict
            )
            if isinstance(outcome, Exception):
                # A bug must not stop the server.
                if not isinstance(outcome, RequestError):
                    _LOG.error("Predict failed", exc_info=outcome)
                    internal = grpc.StatusCode.INTERNAL
                    outcome = RequestError(internal, "internal error")
                code = outcome.code.name
                _refuse(context, outcome)
                return predict_pb2.PredictResponse()
            code = "OK"
            return outcome
        except asyncio.CancelledError:
            # The client has gone; the request ends before it costs anything.
            gone.set()
            code = "CANCELLED"
            raise
        finally:
            self._metrics.record(
                request.model_spec.name, "Predict", "GRPC", code, start
            )

    def _predict(
        self, request: predict_pb2.PredictRequest, gone: threading.Event
    ) -> predict_pb2.PredictResponse:
        name, version, label = _requested_model(request)
        signature_name = request.model_spec.signature_name
        with (
            self._models.use(name, version, label) as model,
            self._limiter.slot(),
        ):
            if gone.is_set():
                raise RequestError(
                    grpc.StatusCode.CANCELLED, "the client has disconnected"
                )
            inputs = to_arrays(request.inputs, model, signature_name)
            with self._metrics.runtime(name):
                outputs = model.run(
                    signature_name, inputs, list(request.output_filter)
                )
        response = predict_pb2.PredictResponse()
        response.model_spec.name = name
        response.model_spec.version.value = model.version
        response.model_spec.signature_name = signature_name or "serving_default"
        for key, value in outputs.items():
            response.outputs[key].CopyFrom(to_proto(value))
        return response

    async def GetModelMetadata(self, request, context):  # noqa: N802
        """Returns the signatures."""
        try:
            return self._metadata(request)
        except RequestError as error:
            _refuse(context, error)
            return get_model_metadata_pb2.GetModelMetadataResponse()

    def _metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        name, version, label = _requested_model(request)
        if not request.metadata_field:
            raise invalid_argument(
                "GetModelMetadataRequest must specify at least one "
                "metadata_field"
            )
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid_argument(
                    f"Metadata field {field} is not supported"
                )
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = any_pb2.Any()
        with self._models.use(name, version, label) as model:
            response.model_spec.name = name
            response.model_spec.version.value = model.version
            signatures.Pack(
                get_model_metadata_pb2.SignatureDefMap(
                    signature_def=model.signatures
                )
            )
        response.metadata["signature_def"].CopyFrom(signatures)
        return response


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, models: Models):
        self._models = models

    async def GetModelStatus(self, request, context):  # noqa: N802
        """Returns the states of the versions, newest first."""
        response = get_model_status_pb2.GetModelStatusResponse()
        states = get_model_status_pb2.ModelVersionStatus.State
        try:
            for status in self._models.statuses(*_requested_model(request)):
                row = response.model_version_status.add()
                row.version = status.version
                row.state = states.Value(status.state)
                row.status.error_code = grpc.StatusCode[status.code].value[0]
                row.status.error_message = status.message
        except RequestError as error:
            _refuse(context, error)
        return response


def _refuse(context: grpc.aio.ServicerContext, error: RequestError) -> None:
    """Sets the status of an error; gRPC then drops the response.

    `context.abort` would leave a cycle of references with the request in it.
    """
    message = error.message.encode("utf-8", "replace")[:_MAX_MESSAGE]
    context.set_code(error.code)
    context.set_details(message.decode("utf-8", "ignore"))


def _requested_model(request) -> tuple[str, int | None, str | None]:
    """Returns name, version and version label of the requested model."""
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    spec = request.model_spec
    if not spec.name:
        raise invalid_argument("ModelSpec has no name specified.")
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else None
    label = spec.version_label if choice == "version_label" else None
    return spec.name, version, label
