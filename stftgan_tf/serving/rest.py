"""TensorFlow Serving's REST interface, as an ASGI application."""

import inspect
import logging
import re
import time
import urllib.parse
import zlib

import anyio
import anyio.to_thread
import grpc
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from tensorflow_serving.apis import get_model_metadata_pb2

from stftgan_tf.serving import json_tensors, monitoring
from stftgan_tf.serving.servable import Gate, Refusal, invalid
from stftgan_tf.serving.versions import Versions, is_version

_PREDICT = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+))?:(classify|regress|predict)", re.I
)
_STATUS = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+))?(/metadata)?", re.I
)
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

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

# A body that has not come by then is not waited for.
BODY_SECS = 30.0


class _TooLarge(Refusal):
    """A body beyond the limit; HTTP has a status of its own for it."""


class Api:
    """Answers requests; `app` is what an ASGI server runs."""

    def __init__(
        self,
        versions: Versions,
        gate: Gate,
        monitor: monitoring.Monitor,
        max_request_bytes: int,
        threads: int,
    ):
        self._versions, self._gate, self._monitor = versions, gate, monitor
        self._max_bytes = max_request_bytes
        self._threads = threads
        self._limiter: anyio.CapacityLimiter | None = None
        route = Route("/{path:path}", self._answer, methods=_METHODS)
        self.app = Starlette(routes=[route])

    async def _answer(self, request: Request) -> Response:
        start = time.perf_counter()
        path = urllib.parse.unquote(request.url.path)
        if path == monitoring.PATH and request.method == "GET":
            return Response(self._monitor.text(), media_type="text/plain")
        status, code = 200, "OK"
        try:
            body = await self._body(request)
            if self._limiter is None:
                self._limiter = anyio.CapacityLimiter(self._threads)
            answer = await anyio.to_thread.run_sync(
                self._handle, request.method, path, body, limiter=self._limiter
            )
        except Refusal as refusal:
            code = refusal.code.name
            status = _HTTP_STATUS.get(code, 500)
            if isinstance(refusal, _TooLarge):
                status = 413
            answer = json_tensors.error_of(refusal.message)
        except ClientDisconnect:
            return Response(status_code=499)
        # A fault of ours: the server goes on.
        except Exception:
            _LOG.exception("%s %s failed", request.method, path)
            status, code = 500, "INTERNAL"
            answer = json_tensors.error_of("internal error; see the log")
        if _PREDICT.fullmatch(path):
            self._monitor.count("predict", "REST", code, start)
        return Response(answer, status, media_type="application/json")

    async def _body(self, request: Request) -> bytes:
        """The body, unpacked; what is beyond the limit is read and dropped.

        Who sends it would else see a broken connection, and no reason.
        """
        parts, size = [], 0
        try:
            with anyio.fail_after(BODY_SECS):
                async for part in request.stream():
                    size += len(part)
                    if size > self._max_bytes:
                        parts = []
                    else:
                        parts.append(part)
        except TimeoutError as error:
            raise Refusal(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"no whole request within {BODY_SECS:g} s",
            ) from error
        if size > self._max_bytes:
            raise self._too_large(f"{size} bytes")
        body = b"".join(parts)
        if "gzip" in request.headers.get("content-encoding", ""):
            return self._unpacked(body)
        return body

    def _unpacked(self, body: bytes) -> bytes:
        # 16: with gzip's header.
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            unpacked = unpacker.decompress(body, self._max_bytes + 1)
        except zlib.error as error:
            raise invalid(f"the body is no gzip: {error}") from error
        if len(unpacked) > self._max_bytes:
            raise self._too_large("unpacked even more")
        return unpacked

    def _too_large(self, size: str) -> _TooLarge:
        return _TooLarge(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"the request has {size}; expected at most {self._max_bytes}",
        )

    def _handle(self, method: str, path: str, body: bytes) -> bytes:
        """The answer's body.

        Raises:
          Refusal: if there is none.
        """
        if not path.lower().startswith("/v1/"):
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"no such path: {path}")
        found = _PREDICT.fullmatch(path)
        if found and method == "POST":
            name, version, kind = found.groups()
            return self._predict(name, _number(version), kind, body)
        found = _STATUS.fullmatch(path)
        if found and method == "GET":
            name, version, metadata = found.groups()
            if metadata:
                return self._metadata(name, _number(version))
            return self._status(name, _number(version))
        if method == "GET" and path.rstrip("/").lower() == "/v1/models":
            raise invalid("Missing model name in request.")
        raise invalid(f"Malformed request: {method} {path}")

    def _predict(
        self, name: str, version: int | None, kind: str, body: bytes
    ) -> bytes:
        request = json_tensors.request_of(body)
        if kind.lower() != "predict":
            raise Refusal(
                grpc.StatusCode.UNIMPLEMENTED,
                f"{kind} is not served here; expected predict",
            )
        with self._versions.borrowed(name, version) as servable, self._gate():
            inputs, rows = json_tensors.inputs_of(request, servable)
            outputs = servable.run(request.get("signature_name", ""), inputs)
            return json_tensors.answer_of(outputs, rows)

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
            for status in self._versions.statuses(name, version)
        ]
        return json_tensors.dumped({"model_version_status": statuses})

    def _metadata(self, name: str, version: int | None) -> bytes:
        with self._versions.borrowed(name, version) as servable:
            spec = {
                "name": name,
                "signature_name": "",
                "version": str(servable.version),
            }
            signatures = get_model_metadata_pb2.SignatureDefMap(
                signature_def=servable.signatures
            )
        metadata = {"signature_def": _as_dict(signatures)}
        return json_tensors.dumped({"model_spec": spec, "metadata": metadata})


def _number(digits: str | None) -> int | None:
    if digits is None:
        return None
    if not is_version(digits):
        raise invalid(f"Failed to convert version: {digits[:30]} to numeric.")
    return int(digits)


def _as_dict(message) -> dict:
    """A message with all its fields, unset ones, too."""
    names = inspect.signature(json_format.MessageToDict).parameters
    # protobuf 5 has another name for it.
    flag = "including_default_value_fields"
    if flag not in names:
        flag = "always_print_fields_with_no_presence"
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, **{flag: True}
    )
