"""Errors of requests: a gRPC status code and one line of text."""

from collections.abc import Callable
from typing import TypeVar

import grpc

_T = TypeVar("_T")


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


def outcome_of(function: Callable[[], _T]) -> _T | Exception:
    """The result of a function that runs in a thread, or what it raises.

    A RequestError comes without a traceback. With one, it would become part of
    a cycle of references as soon as it leaves the thread, and keep the request
    in memory until the garbage collector runs.
    """
    try:
        return function()
    except RequestError as error:
        return RequestError(error.code, error.message)
    except Exception as error:
        return error
