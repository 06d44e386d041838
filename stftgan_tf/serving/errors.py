"""Errors of requests: a gRPC status code and one line of text."""

import grpc


class RequestError(Exception):
    """A request that cannot be answered.

    Attributes:
      code: the gRPC status code.
      message: the reason, in one line.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code, self.message = code, " ".join(message.split())


def invalid_argument(message: str) -> RequestError:
    """Returns the error for a request that would fail again."""
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)
