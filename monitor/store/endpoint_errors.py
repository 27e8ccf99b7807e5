"""Errors as a ClickHouse server says them: a number, a name, a text, and the HTTP status for the number."""

from __future__ import annotations

import re

__all__ = ["EndpointError", "engine_error", "http_status"]

# Numbers used by the endpoint itself, as in ClickHouse's ErrorCodes.cpp.
NAMES = {
    36: "BAD_ARGUMENTS",
    48: "NOT_IMPLEMENTED",
    62: "SYNTAX_ERROR",
    73: "UNKNOWN_FORMAT",
    115: "UNKNOWN_SETTING",
    164: "READONLY",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    394: "QUERY_WAS_CANCELLED",
    452: "SETTING_CONSTRAINT_VIOLATION",
    460: "UNKNOWN_COMPRESSION_METHOD",
    516: "AUTHENTICATION_FAILED",
    1002: "UNKNOWN_EXCEPTION",
}
_REQUEST_TOO_LARGE = 1010

_STATUS = {
    194: 401, 192: 403, 193: 403, 516: 403,
    **dict.fromkeys((6, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 72, 117, 167, 168, 321, 376, 427, 441), 400),
    **dict.fromkeys((452, 456, 457, 460), 400),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 81, 115), 404),
    159: 408, 48: 501, 202: 503, 209: 503, 439: 503, _REQUEST_TOO_LARGE: 413,
}  # fmt: skip

_HEAD = re.compile(r"^(?:Streaming query failed: )?((?:Code: (\d+)\. DB::Exception: )+)", re.DOTALL)
_TAIL = re.compile(r"\s*\(version [^()]*\)\s*\.?\s*$|\.?\s*\(([A-Z][A-Z0-9_]{2,})\)\s*$")
# The statement that rewrites a query repeats it in its own errors.
_OWN_SCOPE = re.compile(r"\s*:? In scope SELECT formatQuerySingleLine.*$", re.DOTALL)


class EndpointError(Exception):
    """An error with ClickHouse's number; `str()` is the text without number, name and version."""

    def __init__(self, code: int, message: str, name: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.name = name or NAMES.get(code, "UNKNOWN_EXCEPTION")

    @property
    def status(self) -> int:
        return http_status(self.code)

    def body(self, version: str) -> str:
        return f"Code: {self.code}. DB::Exception: {self} ({self.name}) (version {version})\n"


def http_status(code: int) -> int:
    return _STATUS.get(code, 500)


def request_too_large(message: str) -> EndpointError:
    return EndpointError(_REQUEST_TOO_LARGE, message, "REQUEST_TOO_LARGE")


def engine_error(error: BaseException) -> EndpointError:
    """Take the engine's text apart; it repeats number, name and version for every layer it went through."""
    text = str(error)
    head = _HEAD.match(text)
    if head is None:
        return EndpointError(1002, text or type(error).__name__)
    rest, name = text[head.end() :], None
    while tail := _TAIL.search(rest):
        name = name or tail.group(1)
        rest = rest[: tail.start()]
    return EndpointError(int(head.group(2)), _OWN_SCOPE.sub("", rest), name)
