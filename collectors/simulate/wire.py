"""Pieces of protobuf wire format, for spans that differ in a few fields only.

A serialised message is a plain sequence of fields, so what all spans of one origin share is serialised once
by the protobuf library, and the few fields that differ are appended to it. That is about ten times faster
than building one message object per span.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

AttributeValue = str | bool | int | float | list[str]

_DOUBLE = struct.Struct("<d").pack


def key_value(key: str, value: AttributeValue) -> KeyValue:
    """An attribute as a protobuf message."""
    if isinstance(value, bool):
        return KeyValue(key=key, value=AnyValue(bool_value=value))
    if isinstance(value, str):
        return KeyValue(key=key, value=AnyValue(string_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    if isinstance(value, float):
        return KeyValue(key=key, value=AnyValue(double_value=value))
    return KeyValue(key=key, value=AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=v) for v in value])))


def key_values(attributes: Mapping[str, AttributeValue]) -> list[KeyValue]:
    """Attributes as protobuf messages, without those that are empty text."""
    return [key_value(key, value) for key, value in attributes.items() if value != ""]


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field: a message, bytes or text."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def attribute(number: int, key: str, value: AttributeValue) -> bytes:
    """One whole attribute as field `number` of a span or resource."""
    return field(number, key_value(key, value).SerializeToString())


def double_attribute(number: int, key: str) -> Callable[[float], bytes]:
    """Makes attributes with this key: everything but the eight bytes of the number is always the same."""
    head = attribute(number, key, 1.0)[:-8]
    return lambda value: head + _DOUBLE(value)


def int_attribute(number: int, key: str) -> Callable[[int], bytes]:
    """Makes attributes with this key and a whole number from 0 on; small numbers are remembered."""
    name = field(1, key.encode())
    known: dict[int, bytes] = {}

    def make(value: int) -> bytes:
        made = known.get(value)
        if made is None:
            any_value = b"\x18" + varint(value)
            made = field(number, name + field(2, any_value))
            if len(known) < 4096:
                known[value] = made
        return made

    return make
