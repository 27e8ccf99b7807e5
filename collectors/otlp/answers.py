"""What OTLP wants to be answered: which errors a client may retry, when, and in which form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from collectors.otlp.checked import Checked
from collectors.otlp.signals import Signal
from monitor.errors import MonitorError, Retryable

# Plain SDK exporters give up when the wait is longer than what is left of their ten seconds.
RETRY_AFTER_S: Final = 1

# google.rpc codes and the HTTP status that means the same to an OTLP client.
HTTP_STATUS: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.UNIMPLEMENTED: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 413,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.INTERNAL: 500,
}


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One refused request."""

    code: grpc.StatusCode
    message: str
    retry_after_s: int | None = None
    http_status: int | None = None

    @property
    def status(self) -> int:
        return self.http_status or HTTP_STATUS[self.code]

    def to_proto(self) -> Status:
        status = Status(code=self.code.value[0], message=self.message)
        if self.retry_after_s is not None:
            detail = AnyMessage()
            detail.Pack(self.retry_info())
            status.details.append(detail)
        return status

    def retry_info(self) -> RetryInfo:
        return RetryInfo(retry_delay=Duration(seconds=self.retry_after_s or 0))


def refusal_of(error: MonitorError) -> Refusal:
    """The answer to a request that failed with this error."""
    if isinstance(error, Retryable):
        return Refusal(code=grpc.StatusCode.UNAVAILABLE, message=str(error), retry_after_s=RETRY_AFTER_S)
    return Refusal(code=grpc.StatusCode.INVALID_ARGUMENT, message=str(error))


def reason_of(error: MonitorError) -> str:
    """The name under which such a refusal is counted."""
    return str(getattr(error, "reason", "refused"))


UNAUTHENTICATED: Final = Refusal(
    code=grpc.StatusCode.UNAUTHENTICATED, message="a valid token is wanted: `authorization: Bearer TOKEN`"
)
# Ours to answer for, and perhaps passing: the client should keep its data.
UNEXPECTED: Final = Refusal(code=grpc.StatusCode.UNAVAILABLE, message="internal error", retry_after_s=RETRY_AFTER_S)


def success(signal: Signal, checked: Checked) -> Message:
    """The response: empty, unless some items were left out."""
    response = signal.response()
    if checked.rejected:
        # Only now, because touching the field sets it, and clients warn of one that is set.
        partial = response.partial_success  # type: ignore[attr-defined]
        setattr(partial, signal.rejected, sum(checked.rejected.values()))
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(checked.rejected.items()))
        partial.error_message = (
            f"{signal.items.replace('_', ' ')} left out ({reasons}); ids must be 16 and 8 bytes, not all zero"
        )
    return response
