"""OTLP/JSON to protobuf bytes, and answers back.

It is not plain protobuf JSON: ids are hexadecimal where protobuf JSON has base64, and fields that are not known must be
passed over. The library's reader does the rest (both spellings of names, numbers as text, base64 for bytes).
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import Message

from collectors.otlp.checked import Malformed

_IDS: Final = frozenset({"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"})
_INTEGERS: Final = frozenset({"intValue", "int_value"})
_LONGEST_REASON: Final = 200
# The library's reader takes some 100 levels; a request needs a dozen, and the rest is for values in values.
_DEPTH: Final = 100


def to_protobuf(kind: type[Message], body: bytes) -> bytes:
    """One JSON request as the protobuf bytes that stand for the same.

    Raises
    ------
    Malformed
        If it is not JSON, or not a request of this kind.
    """
    name = kind.DESCRIPTOR.name
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON ({len(body)} bytes): {_said(error)}") from None
    if not isinstance(values, dict):
        raise Malformed(f"the top level of an {name} must be a JSON object, not {_kind(values)}")
    message = kind()
    try:
        _decode_ids(values, _DEPTH)
        json_format.ParseDict(values, message, ignore_unknown_fields=True, max_recursion_depth=_DEPTH)
    # The library lets through what its insides raise: SystemError for half a character in a name, for instance.
    except (
        json_format.ParseError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError, SystemError
    ) as error:  # fmt: skip
        raise Malformed(f"not an {name} in JSON ({len(body)} bytes): {_said(error)}") from None
    return bytes(message.SerializeToString())


def from_protobuf(message: Message) -> bytes:
    """An answer in JSON."""
    return json_format.MessageToJson(message, indent=None).encode()


def _decode_ids(value: Any, depth: int) -> None:
    """Turn hexadecimal ids into base64, and integers of more than 64 bits into doubles, in place.

    Attributes are `{"key": …, "value": …}`, so no name of theirs is taken for one of the protocol's.
    """
    if depth == 0:
        raise Malformed(f"the JSON is nested more than {_DEPTH} levels deep")
    if isinstance(value, list):
        for item in value:
            if isinstance(item, (dict, list)):
                _decode_ids(item, depth - 1)
        return
    for key, item in list(value.items()):
        if isinstance(item, (dict, list)):
            _decode_ids(item, depth - 1)
        elif key in _IDS and isinstance(item, str):
            value[key] = _base64(item)
        elif key in _INTEGERS and not isinstance(item, bool) and not -(2**63) <= _integer(item) < 2**63:
            # JavaScript has only doubles, and its exporters call a whole one an integer.
            del value[key]
            value["doubleValue"] = float(item)


def _integer(value: Any) -> int:
    """The integer, or 0 for what the library will refuse."""
    try:
        return int(value)
    except (ValueError, TypeError, OverflowError):
        return 0


def _base64(text: str) -> str:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        # Of no length that an id has, so that the span is counted as one with a bad id and the rest is kept.
        return base64.b64encode(b"?").decode()
    return binascii.b2a_base64(data, newline=False).decode()


def _said(error: Exception) -> str:
    # What is quoted may hold halves of characters, which no answer can carry.
    text = (str(error) or type(error).__name__).encode("utf-8", "replace").decode()
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number")
