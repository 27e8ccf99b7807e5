"""The check that every request passes before it is logged: bytes in, the same bytes out.

The C protobuf parser tells whether the message is whole and its text UTF-8; a short loop looks at the ids and the begin
of each span; two passes over the raw bytes tell whether anything in it may need repair. Only then are objects built
(`collectors.otlp.repair`), so a well-formed request is never decoded into Python values and never encoded again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collectors.otlp.repair import Repaired, repair_traces
from monitor.errors import BadInput
from monitor.settings import Settings

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]

_NO_TRACE: Final = bytes(16)
_NO_SPAN: Final = bytes(8)
_EVENT_ATTRIBUTE: Final = 0x1A  # tag of Event.attributes
_LINK_ATTRIBUTE: Final = 0x22  # tag of Link.attributes


class Malformed(BadInput):
    """The request is not an OTLP message; the whole of it is refused."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a span may be, see `monitor.settings.CollectorSettings`."""

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


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A request that may be logged.

    Attributes
    ----------
    body : bytes
        The accepted spans as an `ExportTraceServiceRequest`.
    spans : int
        How many they are.
    rejected : mapping of reason to count
        Spans left out, which can never succeed.
    repaired : mapping of reason to count
        Spans stored with a change: `time_clamped`, `truncated`, `attributes_dropped`.
    """

    body: bytes
    spans: int
    rejected: Mapping[str, int] = field(default_factory=dict)
    repaired: Mapping[str, int] = field(default_factory=dict)


def check_traces(body: bytes, limits: Limits, now_ns: int) -> Checked:
    """Check one serialised `ExportTraceServiceRequest`.

    Raises
    ------
    Malformed
        If it is not one.
    """
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise Malformed(
            f"not an ExportTraceServiceRequest ({len(body)} bytes): {_reason(error)}; send OTLP 1.x protobuf"
        ) from None
    earliest, latest = now_ns - limits.max_past_ns, now_ns + limits.max_future_ns
    spans, suspect = 0, False
    for resource_spans in request.resource_spans:
        suspect = suspect or len(resource_spans.resource.attributes) > limits.max_attributes
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                spans += 1
                trace_id, span_id = span.trace_id, span.span_id
                if (
                    len(trace_id) != 16
                    or len(span_id) != 8
                    or trace_id == _NO_TRACE
                    or span_id == _NO_SPAN
                    or not earliest <= span.start_time_unix_nano <= span.end_time_unix_nano <= latest
                    or len(span.attributes) > limits.max_attributes
                ):
                    suspect = True
    suspect = suspect or _crowded(request, body, limits.max_attributes)
    if not suspect and not needs_repair(body, limits.max_attribute_bytes):
        return Checked(body=body, spans=spans)
    repaired: Repaired = repair_traces(
        request,
        max_attributes=limits.max_attributes,
        max_attribute_bytes=limits.max_attribute_bytes,
        earliest_ns=earliest,
        latest_ns=latest,
        now_ns=now_ns,
    )
    return Checked(
        body=request.SerializeToString() if repaired.changed else body,
        spans=spans - sum(repaired.rejected.values()),
        rejected=repaired.rejected,
        repaired=repaired.repaired,
    )


def _crowded(request: ExportTraceServiceRequest, body: bytes, max_attributes: int) -> bool:
    """Whether an event or a link has more attributes than it may."""
    # Asking each span for its events takes as long as reading it; a request with few such tags has no such event.
    data = np.frombuffer(body, dtype=np.uint8)
    if not any(_may_exceed(data, tag, max_attributes) for tag in (_EVENT_ATTRIBUTE, _LINK_ATTRIBUTE)):
        return False
    return any(
        len(item.attributes) > max_attributes
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
        for items in (span.events, span.links)
        for item in items
    )


def _may_exceed(data: Bytes, tag: int, most: int) -> bool:
    """Whether more than so many attributes with this tag of one byte may be there; it also stands for other things."""
    found = data == tag
    if np.count_nonzero(found) <= most:
        return False
    tags = np.flatnonzero(found[:-2])
    length, first = data[tags + 1], data[tags + 2]
    # Behind an attribute's tag: nothing in it, or a length of several bytes, or a key (0x0A), or a value alone (0x12).
    likely = (length == 0) | (length >= 0x80) | (first == 0x0A) | (first == 0x12)
    return 2 + int(np.count_nonzero(likely)) > most


def normalise_traces(body: bytes) -> bytes:
    """The same request with only the fields that the protocol knows, in their proper encoding."""
    request = ExportTraceServiceRequest.FromString(body)
    request.DiscardUnknownFields()
    return bytes(request.SerializeToString())


def _reason(error: DecodeError) -> str:
    return str(error).split(":")[-1].strip() or "truncated or corrupt"


_MANY: Final = 2000  # positions worth a look in one request; a usual one has a few dozen

# Protobuf tags, one byte each: number * 8 + 2 (length-delimited).
_KEY_VALUE_VALUE: Final = 0x12  # KeyValue.value
_ARRAY_ITEM: Final = 0x0A  # ArrayValue.values, KeyValueList.values
_TEXT: Final = 0x0A  # AnyValue.string_value
_ARRAY: Final = 0x2A  # AnyValue.array_value
_KVLIST: Final = 0x32  # AnyValue.kvlist_value
_BYTES: Final = 0x3A  # AnyValue.bytes_value


def needs_repair(body: bytes, max_attribute_bytes: int) -> bool:
    """Whether the request may hold a value that ClickHouse's reading of it would lose or that is over the limit.

    It may say yes to a harmless request, whose bytes look alike by chance; never no to one that needs repair and is
    encoded as every encoder does (shortest varints, one arm of a `oneof`).

    NumPy finds the few positions worth a look, which plain Python then takes; when there are many, the answer is yes.
    """
    if len(body) < 8:
        return False
    data = np.frombuffer(body, dtype=np.uint8)
    return _has_deep_value(body, data) or (
        len(body) > max_attribute_bytes and _has_long_value(body, data, max_attribute_bytes)
    )


def _has_deep_value(body: bytes, data: Bytes) -> bool:
    # A key-value list, byte string or array of arrays is an AnyValue whose only field has one of three tags, and that
    # AnyValue is the value of an attribute or an item of an array: `outer-tag length inner-tag length …`. The outer
    # length is the inner one plus the bytes between, which chance seldom gets right.
    # Three inner tags, and the quotation mark, which the same mask lets through.
    before2, before = data[:-3], data[1:-2]
    possible = ((data[2:-1] & 0xE7) == 0x22) & (before < 0x80) & ((before2 >= 0x80) | ((before2 & 0xE7) == 0x02))
    tags = np.flatnonzero(possible) + 2
    # One byte of length each (the difference wraps around; the exact test follows), or several.
    one = data[tags - 1] - data[tags + 1] == 2
    # The most usual array is the value of an attribute, and fine.
    one &= (data[tags] != _ARRAY) | (data[tags - 2] != _KEY_VALUE_VALUE)
    several = (data[tags - 2] >= 0x80) & ((data[tags - 3] >= 0x80) | ((data[tags - 3] & 0xE7) == 0x02))
    likely = (one | several) & (data[tags] != 0x22)
    return _any_nested(body, tags[likely], _is_deep)


def _is_deep(body: bytes, at: int, outer: int, length: int) -> bool:
    inner = body[at]
    if inner == _BYTES:
        return True
    # As the value of an attribute an array is fine; as an item of an array it is nested.
    if inner != _KVLIST and not (inner == _ARRAY and outer == _ARRAY_ITEM):
        return False
    # A list or array that is not empty begins with the tag of its first item.
    after = at + 1 + _varint(body, at + 1)[1]
    return length == 0 or body[after : after + 1] == bytes([_ARRAY_ITEM])


def _has_long_value(body: bytes, data: Bytes, limit: int) -> bool:
    # The length of the text or array stands right behind its tag; over 16,383 the first two bytes of it have their
    # high bit set, over 127 the first.
    high = data >= 0x80
    high = high[1:-1] & high[2:] if limit >= 1 << 14 else high[1:-1]
    tag = data[:-2]
    tags = np.flatnonzero(high & ((tag == _TEXT) | (tag == _ARRAY)))
    return _any_nested(body, tags, lambda body, at, outer, length: outer == _KEY_VALUE_VALUE and length > limit)


def _any_nested(body: bytes, tags: Positions, wanted: Callable[[bytes, int, int, int], bool]) -> bool:
    """Whether at any of these tags stands the only field of an AnyValue that is `wanted(body, at, outer tag, length)`."""
    if len(tags) > _MANY:
        return True
    for at in tags.tolist():
        length, width = _varint(body, at + 1)
        # The outer length, which ends right before, is the inner field's whole size.
        size = length + 1 + width
        outer_width = max(1, (size.bit_length() + 6) // 7)
        begin = at - outer_width
        fits = begin >= 1 and body[begin - 1] in (_KEY_VALUE_VALUE, _ARRAY_ITEM) and _varint(body, begin)[0] == size
        if fits and wanted(body, at, body[begin - 1], length):
            return True
    return False


def _varint(body: bytes, begin: int) -> tuple[int, int]:
    """Value and width of the varint that begins there; at most five bytes are read."""
    value = 0
    for index, byte in enumerate(body[begin : begin + 5]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, index + 1
    return value, 5
