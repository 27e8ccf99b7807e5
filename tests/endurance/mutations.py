"""Bad OTLP messages without end: real requests of every signal, damaged at random."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any, Final

from collectors.otlp.signals import LOGS, METRICS, TRACES, Signal
from tests.collectors.json_form import otlp_json
from tests.collectors.payloads import request
from tests.collectors.signals import log_request, metric_request

_MESSAGES: Final = {TRACES: lambda: request(10**6, 4), LOGS: log_request, METRICS: metric_request}
BODIES: Final[dict[Signal, bytes]] = {signal: make().SerializeToString() for signal, make in _MESSAGES.items()}
TEXTS: Final[dict[Signal, Any]] = {signal: otlp_json(make()) for signal, make in _MESSAGES.items()}

Bytes = Callable[[random.Random, bytearray], None]


def _flip(chance: random.Random, data: bytearray) -> None:
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _cut(chance: random.Random, data: bytearray) -> None:
    del data[chance.randrange(len(data)) :]


def _remove(chance: random.Random, data: bytearray) -> None:
    at = chance.randrange(len(data))
    del data[at : at + chance.randint(1, 16)]


def _insert(chance: random.Random, data: bytearray) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.randbytes(chance.randint(1, 16))


def _repeat(chance: random.Random, data: bytearray) -> None:
    at = chance.randrange(len(data))
    data[at:at] = data[at : at + chance.randint(1, 64)] * chance.randint(1, 20)


def _saturate(chance: random.Random, data: bytearray) -> None:
    # Lengths and numbers at their limits.
    at = chance.randrange(len(data))
    data[at : at + chance.randint(1, 10)] = b"\xff" * chance.randint(1, 10)


def _zero(chance: random.Random, data: bytearray) -> None:
    at = chance.randrange(len(data))
    length = min(chance.randint(1, 24), len(data) - at)
    data[at : at + length] = bytes(length)


def _nest(chance: random.Random, data: bytearray) -> None:
    # A message within a message within …: deeper than any parser likes.
    inner = bytes(data[: chance.randint(1, 60)])
    for _ in range(chance.randint(2, 150)):
        inner = bytes([0x0A]) + _varint(len(inner)) + inner
    data[:] = inner


def _splice(chance: random.Random, data: bytearray) -> None:
    other = chance.choice(list(BODIES.values()))
    data[chance.randrange(len(data)) :] = other[chance.randrange(len(other)) :]


def _noise(chance: random.Random, data: bytearray) -> None:
    data[:] = chance.randbytes(chance.randint(0, 300))


_DAMAGES: Final[tuple[Bytes, ...]] = (
    _flip, _flip, _cut, _remove, _insert, _repeat, _saturate, _zero, _nest, _splice, _noise,
)  # fmt: skip


def bad_protobuf(chance: random.Random, signal: Signal) -> bytes:
    """One damaged request."""
    data = bytearray(BODIES[signal])
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        if data:
            chance.choice(_DAMAGES)(chance, data)
    return bytes(data)


def bad_json(chance: random.Random, signal: Signal) -> bytes:
    """One damaged request in JSON: in its text, or in what it says."""
    if chance.random() < 0.4:
        data = bytearray(json.dumps(TEXTS[signal]).encode())
        chance.choice(_DAMAGES)(chance, data)
        return bytes(data)
    document = json.loads(json.dumps(TEXTS[signal]))
    for _ in range(chance.choice((1, 1, 2, 5))):
        _replace(chance, document)
    return json.dumps(document).encode()


_VALUES: Final[tuple[Any, ...]] = (
    None, True, -1, 0, 2**63, -(2**64), 1.5, 1e308, float("nan"), float("inf"), "", "x", "é" * 40, "\x00", "zz" * 16, "0" * 32,
    "1e400", [], [[]], {}, {"": {}}, [None], "-5", "\ud800", {"stringValue": {"stringValue": 1}},
)  # fmt: skip


def _replace(chance: random.Random, document: Any) -> None:
    """Put something else in a place chosen at random."""
    at = document
    while True:
        places = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not places:
            return
        place = chance.choice(places)
        inner = at[place]
        if isinstance(inner, (dict, list)) and inner and chance.random() < 0.85:
            at = inner
            continue
        if isinstance(at, dict) and chance.random() < 0.2:
            at[chance.choice(("", "spanId", "unknown", place + "x"))] = at.pop(place)
        else:
            at[place] = copy.deepcopy(chance.choice(_VALUES))
        return


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
