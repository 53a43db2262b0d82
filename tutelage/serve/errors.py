"""Errors of the HTTP API, as OpenAI's API gives them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

# Status -> (type, the code where the error has none of its own).
KINDS: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "invalid_value"),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "host_not_allowed"),
    404: ("invalid_request_error", "not_found"),
    405: ("invalid_request_error", "method_not_allowed"),
    408: ("invalid_request_error", "request_timeout"),
    409: ("invalid_request_error", "conflict"),
    413: ("invalid_request_error", "body_too_large"),
    415: ("invalid_request_error", "unsupported_media_type"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    500: ("server_error", "server_error"),
    503: ("server_error", "unavailable"),
}


@dataclass
class ApiError(Exception):
    """An error to send to the client.

    param:       the field of the request that is wrong.
    code:        a name for programs; "" is that of the status.
    retry_after: seconds after which the client may try again; 0 sends no header.
    """

    status: int
    message: str
    param: str | None = None
    code: str = ""
    retry_after: int = 0

    def __post_init__(self) -> None:
        super().__init__(self.message)

    def body(self) -> bytes:
        """The error as JSON."""
        kind, code = KINDS[self.status]
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code or code}
        return msgspec.json.encode({"error": error})

    def headers(self) -> dict[str, str]:
        """The headers that go with it."""
        return {"Retry-After": str(self.retry_after)} if self.retry_after else {}
