"""TensorFlow Serving's REST API as an ASGI application."""

import functools
import inspect
import logging
import re
import threading
import time
import urllib.parse
import zlib
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import grpc
from google.protobuf import json_format, message
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from tensorflow_serving.apis import get_model_metadata_pb2

from stftgan_tf.serving import json_requests, json_responses, monitoring
from stftgan_tf.serving.errors import RequestError, invalid_argument
from stftgan_tf.serving.limiter import RequestLimiter
from stftgan_tf.serving.models import Models
from stftgan_tf.serving.options import ServerOptions
from stftgan_tf.serving.page import ListeningPage
from stftgan_tf.serving.versions import is_version

_PREDICT = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+))?:(classify|regress|predict)", re.I
)
_STATUS = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+))?(/metadata)?", re.I
)

_HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

_LOG = logging.getLogger(__name__)

# A request is rejected if its body takes longer to arrive.
BODY_TIMEOUT_SECS = 30.0


class _BodyTooLarge(RequestError):
    """A body above the limit; HTTP has its own status for it."""


class RestService:
    """Answers REST requests; an ASGI application."""

    def __init__(
        self,
        models: Models,
        limiter: RequestLimiter,
        metrics: monitoring.RequestMetrics,
        options: ServerOptions,
    ):
        self._models, self._limiter = models, limiter
        self._metrics = metrics
        self._max_bytes = options.max_request_bytes
        self._page = ListeningPage(models) if options.page else None
        self._num_threads = options.threads
        # Created later, because anyio requires a running event loop.
        self._threads: anyio.CapacityLimiter | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers a request, of any path and method."""
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        start = time.perf_counter()
        path = urllib.parse.unquote(request.url.path)
        if path == monitoring.PATH and request.method == "GET":
            return Response(self._metrics.text(), media_type="text/plain")
        status, code = 200, "OK"
        try:
            if self._page:
                headers = request.headers
                response = self._page.respond(request.method, path, headers)
                if response:
                    return response
            content = await self._content(request, path)
        except RequestError as error:
            code = error.code.name
            status = _HTTP_STATUS.get(code, 500)
            if isinstance(error, _BodyTooLarge):
                status = 413
            content = json_responses.error_body(error.message)
        except ClientDisconnect:
            return Response(status_code=499)
        # A bug must not stop the server.
        except Exception:
            _LOG.exception("%s %s failed", request.method, path)
            status, code = 500, "INTERNAL"
            content = json_responses.error_body("internal error; see the log")
        match = _PREDICT.fullmatch(path)
        if match:
            self._metrics.record(match[1], "predict", "REST", code, start)
        return Response(content, status, media_type="application/json")

    async def _content(self, request: Request, path: str) -> bytes:
        """The body of a response, computed in a thread."""
        body = await self._read_body(request)
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(self._num_threads)
        gone = threading.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_watch_client, request, gone)
            content = await _outcome_of(
                functools.partial(
                    self._handle, request.method, path, body, gone
                ),
                self._threads,
            )
            tasks.cancel_scope.cancel()
        if isinstance(content, Exception):
            raise content
        return content

    async def _read_body(self, request: Request) -> bytes:
        """Reads and decompresses a body.

        Data above the limit is read and dropped; otherwise the client sees a
        reset connection instead of an error message.
        """
        parts, size = [], 0
        try:
            with anyio.fail_after(BODY_TIMEOUT_SECS):
                async for part in request.stream():
                    size += len(part)
                    if size > self._max_bytes:
                        parts = []
                    else:
                        parts.append(part)
        except TimeoutError as error:
            raise RequestError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                "the request did not arrive completely within "
                f"{BODY_TIMEOUT_SECS:g} s",
            ) from error
        if size > self._max_bytes:
            raise self._too_large(f"has {size} bytes")
        body = b"".join(parts)
        if "gzip" in request.headers.get("content-encoding", ""):
            return self._decompress(body)
        return body

    def _decompress(self, body: bytes) -> bytes:
        # 16 selects the gzip header.
        decompressor = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            content = decompressor.decompress(body, self._max_bytes + 1)
        except zlib.error as error:
            raise invalid_argument(
                f"the body is not valid gzip: {error}"
            ) from error
        if len(content) > self._max_bytes:
            raise self._too_large("is larger after decompression")
        return content

    def _too_large(self, problem: str) -> _BodyTooLarge:
        return _BodyTooLarge(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"the request {problem}; expected at most {self._max_bytes} bytes",
        )

    def _handle(
        self, method: str, path: str, body: bytes, gone: threading.Event
    ) -> bytes:
        """Returns the body of the response.

        `gone` is set when the client closes its connection.

        Raises:
          RequestError: if the request cannot be answered.
        """
        if not path.lower().startswith("/v1/"):
            raise RequestError(
                grpc.StatusCode.NOT_FOUND, f"no such path: {path}"
            )
        match = _PREDICT.fullmatch(path)
        if match and method == "POST":
            name, version, verb = match.groups()
            number = _parse_version(version)
            return self._predict(name, number, verb, body, gone)
        match = _STATUS.fullmatch(path)
        if match and method == "GET":
            name, version, metadata = match.groups()
            if metadata:
                return self._metadata(name, _parse_version(version))
            return self._status(name, _parse_version(version))
        if method == "GET" and path.rstrip("/").lower() == "/v1/models":
            raise invalid_argument("Missing model name in request.")
        raise invalid_argument(f"Malformed request: {method} {path}")

    def _predict(
        self,
        name: str,
        version: int | None,
        verb: str,
        body: bytes,
        gone: threading.Event,
    ) -> bytes:
        request = json_requests.parse_body(body)
        if verb.lower() != "predict":
            raise RequestError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"{verb} is not supported; expected predict",
            )
        with self._models.use(name, version) as model, self._limiter.slot():
            if gone.is_set():
                raise RequestError(
                    grpc.StatusCode.CANCELLED, "the client has disconnected"
                )
            inputs, row_format = json_requests.parse_inputs(request, model)
            outputs = model.run(request.get("signature_name", ""), inputs)
            return json_responses.predictions_body(outputs, row_format)

    def _status(self, name: str, version: int | None) -> bytes:
        statuses = [
            {
                "version": str(status.version),
                "state": status.state,
                "status": {
                    "error_code": status.code,
                    "error_message": status.message,
                },
            }
            for status in self._models.statuses(name, version)
        ]
        return json_responses.to_json({"model_version_status": statuses})

    def _metadata(self, name: str, version: int | None) -> bytes:
        with self._models.use(name, version) as model:
            spec = {
                "name": name,
                "signature_name": "",
                "version": str(model.version),
            }
            signatures = get_model_metadata_pb2.SignatureDefMap(
                signature_def=model.signatures
            )
        metadata = {"signature_def": _to_dict(signatures)}
        return json_responses.to_json(
            {"model_spec": spec, "metadata": metadata}
        )


async def _watch_client(request: Request, gone: threading.Event) -> None:
    """Waits until the client closes its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    gone.set()


async def _outcome_of(
    function: Callable[[], bytes], threads: anyio.CapacityLimiter
) -> bytes | Exception:
    """The result of a function in a thread, or what it raises.

    A task group would wrap an exception.
    """
    try:
        return await anyio.to_thread.run_sync(function, limiter=threads)
    except Exception as error:
        return error


def _parse_version(digits: str | None) -> int | None:
    if digits is None:
        return None
    if not is_version(digits):
        raise invalid_argument(
            f"Failed to convert version: {digits[:30]} to numeric."
        )
    return int(digits)


def _to_dict(proto: message.Message) -> dict[str, Any]:
    """Converts a message with all its fields, including unset ones."""
    names = inspect.signature(json_format.MessageToDict).parameters
    # protobuf 5 renamed the flag.
    flag = "including_default_value_fields"
    if flag not in names:
        flag = "always_print_fields_with_no_presence"
    return json_format.MessageToDict(
        proto, preserving_proto_field_name=True, **{flag: True}
    )
