"""TensorFlow Serving's REST API as an ASGI application."""

import asyncio
import functools
import inspect
import logging
import re
import threading
import time
import urllib.parse
from typing import Any

import anyio
import anyio.to_thread
import grpc
from google.protobuf import json_format, message
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from tensorflow_serving.apis import get_model_metadata_pb2

from stftgan_tf.serving import (
    json_requests,
    json_responses,
    monitoring,
    request_body,
)
from stftgan_tf.serving.errors import (
    RequestError,
    invalid_argument,
    outcome_of,
)
from stftgan_tf.serving.limiter import RequestLimiter
from stftgan_tf.serving.models import Models
from stftgan_tf.serving.options import ServerOptions
from stftgan_tf.serving.page import ListeningPage
from stftgan_tf.serving.version_files import is_version

_MODEL = (
    r"(?i:/v1/models)/([^/:]+)(?:(?i:/versions)/(\d+)|(?i:/labels)/([^/:]+))?"
)
# Unlike the rest, the verb is case-sensitive.
_PREDICT = re.compile(_MODEL + ":(classify|regress|predict)")
_STATUS = re.compile(_MODEL + "(?i:(/metadata))?")

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

# Name, version and version label of the requested model.
_Model = tuple[str, int | None, str | None]

# Bytes of a body whose values are counted before it is parsed.
_LARGE_BODY = 50_000

_LOG = logging.getLogger(__name__)


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
        self._timeout_ms = options.rest_api_timeout_in_ms
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
        # Undecoded: a name may contain an encoded "/" or ":".
        path = request.scope["raw_path"].decode("ascii", "replace")
        if path == monitoring.PATH and request.method == "GET":
            return Response(self._metrics.text(), media_type="text/plain")
        status, code = 200, "OK"
        try:
            if self._page:
                headers = request.headers
                response = self._page.respond(
                    request.method, urllib.parse.unquote(path), headers
                )
                if response:
                    return response
            if request.method == "OPTIONS" and path.startswith("/v1/"):
                content = _preflight(request)
            else:
                content = await self._content(request, path)
        except RequestError as error:
            code = error.code.name
            status = _HTTP_STATUS.get(code, 500)
            if isinstance(error, request_body.BodyTooLarge):
                status = 413
            content = json_responses.error_body(error.message)
        except ClientDisconnect:
            return Response(status_code=499)
        except asyncio.CancelledError:
            # The server stops, and the time to finish is over.
            status, code = 503, "UNAVAILABLE"
            content = json_responses.error_body("the server is stopping")
        # A bug must not stop the server.
        except Exception:
            _LOG.exception("%s %s failed", request.method, path)
            status, code = 500, "INTERNAL"
            content = json_responses.error_body("internal error; see the log")
        match = _PREDICT.fullmatch(path)
        if match:
            name = urllib.parse.unquote(match[1])
            self._metrics.record(name, "predict", "REST", code, start)
        return Response(content, status, media_type="application/json")

    async def _content(self, request: Request, path: str) -> bytes:
        """The body of a response, computed in a thread."""
        body = await request_body.read(request, self._max_bytes)
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(self._num_threads)
        gone = threading.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_watch_client, request, gone)
            handle = functools.partial(
                self._handle, request.method, path, body, gone
            )
            content = await anyio.to_thread.run_sync(
                outcome_of, handle, limiter=self._threads
            )
            tasks.cancel_scope.cancel()
        # A task group would wrap an exception, so it is raised here.
        try:
            if isinstance(content, Exception):
                raise content
            return content
        finally:
            # Otherwise error and variable refer to each other.
            del content

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
            *model, verb = match.groups()
            return self._predict(_parse_model(*model), verb, body, gone)
        match = _STATUS.fullmatch(path)
        if match and method == "GET":
            *model, metadata = match.groups()
            if metadata:
                return self._metadata(_parse_model(*model))
            return self._status(_parse_model(*model))
        if method == "GET" and path.lower() == "/v1/models":
            raise invalid_argument("Missing model name in request.")
        raise invalid_argument(f"Malformed request: {method} {path}")

    def _predict(
        self, model: _Model, verb: str, body: bytes, gone: threading.Event
    ) -> bytes:
        if len(body) > _LARGE_BODY:
            # Counting is a hundred times faster than parsing.
            with self._models.use(*model) as version:
                version.check_values(body.count(b",") + 1)
        request = json_requests.parse_body(body)
        if verb != "predict":
            raise RequestError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"{verb} is not supported; expected predict",
            )
        with self._models.use(*model) as version, self._limiter.slot():
            if gone.is_set():
                raise RequestError(
                    grpc.StatusCode.CANCELLED, "the client has disconnected"
                )
            inputs, row_format = json_requests.parse_inputs(request, version)
            with self._metrics.runtime(model[0]):
                outputs = version.run(
                    request.get("signature_name", ""),
                    inputs,
                    timeout_ms=self._timeout_ms,
                )
            return json_responses.predictions_body(outputs, row_format)

    def _status(self, model: _Model) -> bytes:
        statuses = [
            {
                "version": str(status.version),
                "state": status.state,
                "status": {
                    "error_code": status.code,
                    "error_message": status.message,
                },
            }
            for status in self._models.statuses(*model)
        ]
        return json_responses.to_json({"model_version_status": statuses})

    def _metadata(self, model: _Model) -> bytes:
        with self._models.use(*model) as version:
            spec = {
                "name": model[0],
                "signature_name": "",
                "version": str(version.version),
            }
            signatures = get_model_metadata_pb2.SignatureDefMap(
                signature_def=version.signatures
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


def _parse_model(name: str, digits: str | None, label: str | None) -> _Model:
    if digits is not None and not is_version(digits):
        raise invalid_argument(
            f"Failed to convert version: {digits[:30]} to numeric."
        )
    return (
        urllib.parse.unquote(name),
        None if digits is None else int(digits),
        label and urllib.parse.unquote(label),
    )


def _preflight(request: Request) -> bytes:
    """The body of the answer to OPTIONS, which browsers send first.

    They send no request to another site after it, because the answer has no
    headers that allow this.
    """
    if not re.search("https?://", request.headers.get("origin", "")):
        raise RequestError(
            grpc.StatusCode.FAILED_PRECONDITION,
            "Origin header is missing in CORS preflight",
        )
    return b""


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
