"""The listening page: fixed files, and what it shows about the models."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from starlette.responses import Response

from stftgan_tf.serving import json_responses
from stftgan_tf.serving.errors import RequestError
from stftgan_tf.serving.models import Models

_ASSETS = Path(__file__).with_name("assets")

_MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}

_MODEL = re.compile(r"/page/models/(.+)")

# The page loads nothing but its own files and talks to its own server only.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        "img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Browsers ask again, so that a new server shows its own page.
    "Cache-Control": "no-cache",
}


class ListeningPage:
    """Answers requests for the page.

    All files are read at the start; no path of a request reaches the file
    system. Sounds come from the REST API, as for every client.
    """

    def __init__(self, models: Models):
        """Reads the files of the page."""
        self._models = models
        self._files = {
            f"/page/{path.name}": (path.read_bytes(), _MEDIA_TYPES[path.suffix])
            for path in sorted(_ASSETS.iterdir())
            if path.suffix in _MEDIA_TYPES
        }
        self._files["/"] = self._files.pop("/page/index.html")

    def respond(
        self, method: str, path: str, headers: Mapping[str, str]
    ) -> Response | None:
        """Returns the response; None if the path is not one of the page.

        Raises:
          RequestError: NOT_FOUND, if the model does not exist or no version
            of it is available.
        """
        if method not in ("GET", "HEAD"):
            return None
        content = self._content(path)
        if content is None:
            return None
        body, media_type = content
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        response_headers = {**_HEADERS, "ETag": tag}
        if headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=response_headers)
        return Response(body, 200, response_headers, media_type)

    def _content(self, path: str) -> tuple[bytes, str] | None:
        """Body and media type."""
        if path in self._files:
            return self._files[path]
        if path == "/page/models":
            return _json({"models": [self._row(n) for n in self._models.names]})
        match = _MODEL.fullmatch(path)
        if not match:
            return None
        with self._models.use(match[1], None) as model:
            return _json({"version": model.version, "about": model.about})

    def _row(self, name: str) -> dict[str, str | int | None]:
        """Name and version; the version is None if none is available."""
        try:
            with self._models.use(name, None) as model:
                return {"name": name, "version": model.version}
        except RequestError:
            return {"name": name, "version": None}


def _json(value: object) -> tuple[bytes, str]:
    return json_responses.to_json(value), "application/json"
