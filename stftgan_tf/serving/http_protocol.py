"""HTTP connections that must send their requests in time."""

import asyncio
import resource

from uvicorn.protocols.http.h11_impl import H11Protocol

# A connection is closed if it takes longer to send the headers of a request.
HEADER_SECS = 10.0

# Further connections receive 503.
MAX_CONNECTIONS = 1000

_BODY = b'{"error":"too many connections"}'
_UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


def _max_connections() -> int:
    """The limit; half of the file descriptors are for other purposes."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, descriptors // 2)


class TimedProtocol(H11Protocol):
    """Closes connections that are silent, or that send headers too slowly.

    uvicorn limits only the time between two requests.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Starts the clock."""
        super().connection_made(transport)
        if len(self.connections) > _max_connections():
            transport.write(_UNAVAILABLE)
            transport.close()
        else:
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the clock."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Stops the clock once all headers have arrived."""
        super().data_received(data)
        if self.cycle and not self.cycle.response_complete:
            self._stop_timer()
        elif self._timer is None:
            self._start_timer()

    def shutdown(self) -> None:
        """Closes the connection, after the answer to a complete request."""
        if self.cycle and self.cycle.more_body:
            self.transport.close()
        else:
            super().shutdown()

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(HEADER_SECS, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
