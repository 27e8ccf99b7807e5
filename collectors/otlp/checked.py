"""What a check says of a request, and within which limits; the same for every signal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from monitor.errors import BadInput
from monitor.settings import Settings

M = TypeVar("M", bound=Message)


class Malformed(BadInput):
    """The request is not an OTLP message; the whole of it is refused."""

    reason = "malformed"


@dataclass(frozen=True, kw_only=True)
class TimeWindow:
    """Times that are believed, in Unix nanoseconds.

    Attributes
    ----------
    now_ns : int
        What times that are not believed are replaced by: the clock when the request first came.
    arrival_ns : int
        What no time at all is replaced by: the clock now. The same bytes without a time need not be the same request.
    """

    earliest_ns: int
    latest_ns: int
    now_ns: int
    arrival_ns: int

    def holds_point(self, point: Any) -> bool:
        """Whether a data point's times are believed; its start may be unknown, which is 0."""
        start, time = point.start_time_unix_nano, point.time_unix_nano
        return self.earliest_ns <= time <= self.latest_ns and (not start or self.earliest_ns <= start <= self.latest_ns)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an item may be, see `monitor.settings.CollectorSettings`."""

    max_attributes: int
    max_attribute_bytes: int
    max_past_ns: int
    max_future_ns: int

    @classmethod
    def from_settings(cls, settings: Settings) -> Limits:
        section = settings.collectors
        return cls(
            max_attributes=section.max_attributes,
            max_attribute_bytes=section.max_attribute_bytes,
            max_past_ns=int(section.max_past_days * 86_400e9),
            max_future_ns=int(section.max_future_s * 1e9),
        )

    def window(self, now_ns: int, arrival_ns: int | None = None) -> TimeWindow:
        """What is believed by a clock; `arrival_ns` if that is not the clock now, see `collectors.otlp.arrivals`."""
        return TimeWindow(
            earliest_ns=now_ns - self.max_past_ns,
            latest_ns=now_ns + self.max_future_ns,
            now_ns=now_ns,
            arrival_ns=now_ns if arrival_ns is None else arrival_ns,
        )


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A request that may be logged.

    Attributes
    ----------
    body : bytes
        The accepted items (spans, log records, data points) as a serialised request.
    items : int
        How many they are.
    rejected : mapping of reason to count
        Items left out, which can never succeed.
    repaired : mapping of reason to count
        Items stored with a change: `time_clamped`, `truncated`, `attributes_dropped`.
    """

    body: bytes
    items: int
    rejected: Mapping[str, int] = field(default_factory=dict)
    repaired: Mapping[str, int] = field(default_factory=dict)


def parse(kind: type[M], body: bytes) -> M:
    """Decode one request.

    Raises
    ------
    Malformed
        If it is not one.
    """
    try:
        return kind.FromString(body)
    except DecodeError as error:
        reason = str(error).split(":")[-1].strip() or "truncated or corrupt"
        name = kind.DESCRIPTOR.name
        raise Malformed(f"not an {name} ({len(body)} bytes): {reason}; send OTLP 1.x") from None


def normalise(kind: type[Message], body: bytes) -> bytes:
    """The same request with only the fields that the protocol knows, in their proper encoding."""
    request = kind.FromString(body)
    request.DiscardUnknownFields()
    return bytes(request.SerializeToString())
