"""Reads the bodies of HTTP requests, within limits of time and size."""

import zlib

import anyio
import grpc
from starlette.requests import Request

from stftgan_tf.serving.errors import RequestError, invalid_argument

# A request is rejected if its body takes longer to arrive.
TIMEOUT_SECS = 30.0


class BodyTooLarge(RequestError):
    """A body above the limit; HTTP has its own status for it."""


async def read(request: Request, max_bytes: int) -> bytes:
    """Returns the decompressed body of a request.

    Data above the limit is read and dropped; otherwise the client sees a
    reset connection instead of an error message.

    Raises:
      RequestError: if the body is too large, too slow, or not valid gzip.
    """
    parts, size = [], 0
    try:
        with anyio.fail_after(TIMEOUT_SECS):
            async for part in request.stream():
                size += len(part)
                if size > max_bytes:
                    parts = []
                else:
                    parts.append(part)
    except TimeoutError as error:
        raise RequestError(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            f"the request did not arrive completely within {TIMEOUT_SECS:g} s",
        ) from error
    if size > max_bytes:
        raise _too_large(f"has {size} bytes", max_bytes)
    body = b"".join(parts)
    if "gzip" in request.headers.get("content-encoding", ""):
        return _decompress(body, max_bytes)
    return body


def _decompress(body: bytes, max_bytes: int) -> bytes:
    # 16 selects the gzip header.
    decompressor = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        content = decompressor.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise invalid_argument(
            f"the body is not valid gzip: {error}"
        ) from error
    if len(content) > max_bytes:
        raise _too_large("is larger after decompression", max_bytes)
    if not decompressor.eof:
        raise invalid_argument("the body is not valid gzip: it is truncated")
    if decompressor.unused_data:
        raise invalid_argument(
            "the body is not valid gzip: data follows its end"
        )
    return content


def _too_large(problem: str, max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"the request {problem}; expected at most {max_bytes} bytes",
    )
