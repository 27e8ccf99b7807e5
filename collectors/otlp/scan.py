"""Whether anything in a request may need repair, told without decoding it into Python values.

It holds for every signal: attributes, bodies and arrays are the same messages in all of them.
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collectors.otlp import shapes

_MANY: Final = 2000  # positions worth a look in one request; a usual one has a few dozen

# Protobuf tags, one byte each: number * 8 + 2 (length-delimited).
_KEY_VALUE_VALUE: Final = 0x12  # KeyValue.value
_TEXT: Final = 0x0A  # AnyValue.string_value
_ARRAY: Final = 0x2A  # AnyValue.array_value

# An empty array as the value of an attribute, which merging would hide behind one that is not empty.
_EMPTY_ARRAY: Final = re.compile(re.escape(bytes([_KEY_VALUE_VALUE, 2, _ARRAY, 0])))
_DEEP: Final = ("kvlist_value", "bytes_value")

_Outline: Final = shapes.outline()
_MERGED: Final = {
    kind.DESCRIPTOR.full_name: shapes.merged(kind)
    for kind in (ExportTraceServiceRequest, ExportLogsServiceRequest, ExportMetricsServiceRequest)
}


class Outline:
    """A request of any signal as pieces of bytes: its items, and what they have in common.

    Raises
    ------
    DecodeError
        If it is no such request.
    """

    def __init__(self, body: bytes) -> None:
        groups = _Outline.FromString(body).groups
        scopes = [scope for group in groups for scope in group.scopes]
        self.items: list[bytes] = [item for scope in scopes for item in scope.items]
        self.common: list[bytes] = [piece for group in groups for piece in group.resource]
        self.common += [piece for scope in scopes for piece in scope.scope]

    @property
    def longest(self) -> int:
        """Bytes of the longest piece; no value is longer."""
        return max(map(len, (*self.items, *self.common)), default=0)


def needs_repair(kind: type[Message], body: bytes, outline: Outline, max_attribute_bytes: int) -> bool:
    """Whether the request, of this kind, may hold a value that ClickHouse's reading of it would lose or that is over the limit.

    It may say yes to a harmless request, or one that is none at all; never no to one that needs repair and is encoded as every
    encoder does (shortest varints, one arm of a `oneof`).
    """
    return _has_deep_value(kind, body) or (
        outline.longest > max_attribute_bytes and _has_long_value(body, max_attribute_bytes)
    )


def _has_deep_value(kind: type[Message], body: bytes) -> bool:
    """Whether there is a key-value list, byte string, empty array or array of arrays, or the bytes are no such message."""
    try:
        message = _MERGED[kind.DESCRIPTOR.full_name].FromString(body)
    except DecodeError:
        return True
    return _is_deep(message) or _EMPTY_ARRAY.search(body) is not None


def _is_deep(merged: Any) -> bool:
    for field, value in merged.ListFields():
        if field.name in _DEEP:
            return True
        if field.name == "array_value":
            item = value.values
            if item.HasField("array_value") or any(item.HasField(name) for name in _DEEP):
                return True
        elif field.message_type is not None and _is_deep(value):
            return True
    return False


def _has_long_value(body: bytes, limit: int) -> bool:
    # The length of the text or array stands right behind its tag; over 16,383 the first two bytes of it have their
    # high bit set, over 127 the first. NumPy finds the few positions worth a look, which plain Python then takes.
    data = np.frombuffer(body, dtype=np.uint8)
    high = data >= 0x80
    high = high[1:-1] & high[2:] if limit >= 1 << 14 else high[1:-1]
    tag = data[:-2]
    tags = np.flatnonzero(high & ((tag == _TEXT) | (tag == _ARRAY)))
    # When they are many, the answer is yes.
    return len(tags) > _MANY or any(_is_long(body, at, limit) for at in tags.tolist())


def _is_long(body: bytes, at: int, limit: int) -> bool:
    """Whether at this tag stands the only field of the value of an attribute, and is over the limit."""
    length, width = _varint(body, at + 1)
    if length <= limit:
        return False
    # The outer length, which ends right before, is the inner field's whole size.
    size = length + 1 + width
    begin = at - max(1, (size.bit_length() + 6) // 7)
    return begin >= 1 and body[begin - 1] == _KEY_VALUE_VALUE and _varint(body, begin)[0] == size


def _varint(body: bytes, begin: int) -> tuple[int, int]:
    """Value and width of the varint that begins there; at most five bytes are read."""
    value = 0
    for index, byte in enumerate(body[begin : begin + 5]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, index + 1
    return value, 5
