"""Two passes over the bytes of a request that tell whether anything in it may need repair, without decoding it.

They hold for every signal: attributes, bodies and arrays are the same messages in all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]

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
    # A key-value list, byte string, empty array or array of arrays is an AnyValue whose only field has one of three tags, and that
    # AnyValue is the value of an attribute or an item of an array: `outer-tag length inner-tag length …`. The outer
    # length is the inner one plus the bytes between, which chance seldom gets right.
    # Three inner tags, and the quotation mark, which the same mask lets through.
    before2, before = data[:-3], data[1:-2]
    possible = ((data[2:-1] & 0xE7) == 0x22) & (before < 0x80) & ((before2 >= 0x80) | ((before2 & 0xE7) == 0x02))
    tags = np.flatnonzero(possible) + 2
    # One byte of length each (the difference wraps around; the exact test follows), or several.
    one = data[tags - 1] - data[tags + 1] == 2
    # The most usual array is the value of an attribute, not empty, and fine.
    one &= (data[tags] != _ARRAY) | (data[tags - 2] != _KEY_VALUE_VALUE) | (data[tags + 1] == 0)
    several = (data[tags - 2] >= 0x80) & ((data[tags - 3] >= 0x80) | ((data[tags - 3] & 0xE7) == 0x02))
    likely = (one | several) & (data[tags] != 0x22)
    return _any_nested(body, tags[likely], _is_deep)


def _is_deep(body: bytes, at: int, outer: int, length: int) -> bool:
    inner = body[at]
    if inner == _BYTES:
        return True
    # As the value of an attribute an array is fine if there is something in it; as an item of an array it is nested.
    if inner != _KVLIST and not (inner == _ARRAY and (outer == _ARRAY_ITEM or length == 0)):
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
