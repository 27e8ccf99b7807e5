"""The check: good requests pass as they are, the rest is repaired or refused."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from collectors.otlp.check import check_traces
from collectors.otlp.checked import Checked, Limits, Malformed
from collectors.otlp.repair import TRUNCATION_MARK, repair_traces
from collectors.otlp.scan import Outline, needs_repair
from tests.collectors.payloads import request

NOW = time.time_ns()
LIMITS = Limits(max_attributes=16, max_attribute_bytes=1000, max_past_ns=10**17, max_future_ns=3600 * 10**9)


def suspicious(body: bytes, limit: int) -> bool:
    return needs_repair(ExportTraceServiceRequest, body, Outline(body), limit)


def check(message: ExportTraceServiceRequest) -> tuple[Checked, list[Any]]:
    checked = check_traces(message.SerializeToString(), LIMITS, NOW)
    found = ExportTraceServiceRequest.FromString(checked.body)
    return checked, [span for rs in found.resource_spans for ss in rs.scope_spans for span in ss.spans]


def text(span: Any, key: str) -> str:
    (value,) = (a.value.string_value for a in span.attributes if a.key == key)
    return str(value)


def with_value(value: AnyValue) -> ExportTraceServiceRequest:
    message = request(1, 3, now_ns=NOW)
    message.resource_spans[0].scope_spans[0].spans[1].attributes.append(KeyValue(key="x", value=value))
    return message


def test_a_good_request_is_the_very_same_bytes() -> None:
    body = request(1, 100, now_ns=NOW).SerializeToString()
    assert check_traces(body, LIMITS, NOW).body is body


@pytest.mark.parametrize(
    "body", [b"\xff", request(1).SerializeToString()[:-2], b"\x0a\x05ab"], ids=["garbage", "cut", "short"]
)
def test_malformed(body: bytes) -> None:
    with pytest.raises(Malformed, match="ExportTraceServiceRequest"):
        check_traces(body, LIMITS, NOW)


def _field(tag: int, content: bytes) -> bytes:
    size = len(content)
    return bytes([tag]) + (bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])) + content


def test_nesting_without_end_is_malformed() -> None:
    # By hand: the library does not write what it would not read.
    value = _field(0x0A, b"x")
    for _ in range(120):
        value = _field(0x2A, _field(0x0A, value))  # an array with one item
    attribute = _field(0x0A, b"key") + _field(0x12, value)
    body = _field(0x0A, _field(0x0A, _field(0x0A, attribute)))
    with pytest.raises(Malformed):
        check_traces(body, LIMITS, NOW)


def test_impossible_ids_are_left_out() -> None:
    message = request(1, 6, now_ns=NOW)
    spans = message.resource_spans[0].scope_spans[0].spans
    spans[0].trace_id, spans[1].trace_id, spans[2].span_id, spans[3].span_id = b"x" * 15, bytes(16), b"", bytes(8)
    kept = [spans[4].SerializeToString(), spans[5].SerializeToString()]
    checked, found = check(message)
    assert (checked.items, dict(checked.rejected)) == (2, {"invalid_trace_id": 2, "invalid_span_id": 2})
    assert [span.SerializeToString() for span in found] == kept


@pytest.mark.parametrize("start", [0, 1, 4_102_444_800 * 10**9, 2**64 - 1], ids=["zero", "1970", "2100", "largest"])
def test_impossible_times_become_the_time_of_arrival(start: int) -> None:
    message = request(1, 2, now_ns=NOW)
    span = message.resource_spans[0].scope_spans[0].spans[0]
    span.start_time_unix_nano, span.end_time_unix_nano = start, min(start + 5, 2**64 - 1)
    checked, found = check(message)
    assert dict(checked.repaired) == {"time_clamped": 1}
    assert found[0].start_time_unix_nano == NOW
    assert 0 <= found[0].end_time_unix_nano - NOW <= 5
    assert text(found[0], "monitor.time_clamped") == str(start)


def test_long_values_are_cut_with_a_mark() -> None:
    checked, found = check(with_value(AnyValue(string_value="ü" * 500_000)))
    cut = text(found[1], "x")
    assert dict(checked.repaired) == {"truncated": 1}
    assert cut == "ü" * 500 + TRUNCATION_MARK


def test_too_many_attributes_are_dropped_with_a_mark() -> None:
    message = request(1, 1, now_ns=NOW)
    span = message.resource_spans[0].scope_spans[0].spans[0]
    for number in range(30):
        span.attributes.append(KeyValue(key=f"k{number}", value=AnyValue(int_value=number)))
    checked, found = check(message)
    assert dict(checked.repaired) == {"attributes_dropped": 16}
    assert len(found[0].attributes) == 17
    assert text(found[0], "monitor.truncated") == "attributes: 16 dropped"


def nested() -> dict[str, tuple[AnyValue, str]]:
    kv = AnyValue()
    kv.kvlist_value.values.append(KeyValue(key="a", value=AnyValue(int_value=1)))
    kv.kvlist_value.values.append(KeyValue(key="b", value=AnyValue(double_value=float("nan"))))
    deep = AnyValue()
    deep.array_value.values.append(AnyValue(string_value="s"))
    deep.array_value.values.append(kv)
    empty = AnyValue()
    empty.kvlist_value.SetInParent()
    nothing = AnyValue()
    nothing.array_value.SetInParent()
    return {
        "empty array": (nothing, "[]"),
        "key-value list": (kv, '{"a":1,"b":"nan"}'),
        "in an array": (deep, '["s",{"a":1,"b":"nan"}]'),
        "bytes": (AnyValue(bytes_value=b"\xff\x00"), "/wA="),
        "empty list": (empty, "{}"),
    }


@pytest.mark.parametrize("name", list(nested()))
def test_nested_values_become_text(name: str) -> None:
    value, wanted = nested()[name]
    _, found = check(with_value(value))
    assert text(found[1], "x") == wanted


def test_a_plain_array_is_left_alone() -> None:
    value = AnyValue()
    for item in (AnyValue(string_value="a"), AnyValue(int_value=2), AnyValue(bool_value=True)):
        value.array_value.values.append(item)
    body = with_value(value).SerializeToString()
    assert check_traces(body, LIMITS, NOW).body is body


sizes = st.one_of(st.integers(0, 300), st.sampled_from([16_378, 16_383, 16_384, 16_390, 70_000]))


@settings(deadline=None, max_examples=150)
@given(size=sizes, kind=st.sampled_from(["kvlist", "bytes", "array", "empty array"]), spans=st.integers(1, 5))
def test_no_nested_value_is_overlooked(size: int, kind: str, spans: int) -> None:
    value = AnyValue()
    if kind == "kvlist":
        value.kvlist_value.values.append(KeyValue(key="k", value=AnyValue(string_value="v" * size)))
    elif kind == "bytes":
        value.bytes_value = b"\xaa" * size
    elif kind == "empty array":
        value.array_value.SetInParent()
    else:
        value.array_value.values.append(AnyValue())
        value.array_value.values[0].array_value.values.append(AnyValue(string_value="q" * size))
    message = request(1, spans, now_ns=NOW)
    message.resource_spans[0].scope_spans[0].spans[-1].attributes.append(KeyValue(key="x", value=value))
    assert suspicious(message.SerializeToString(), 10**9)


@settings(deadline=None, max_examples=100)
@given(limit=st.sampled_from([128, 200, 1000, 16_383, 16_384, 65_536]), over=st.integers(-2, 3))
def test_no_long_text_is_overlooked(limit: int, over: int) -> None:
    body = with_value(AnyValue(string_value="z" * (limit + over))).SerializeToString()
    if over > 0:
        assert suspicious(body, limit)


def test_ordinary_requests_do_not_look_suspicious() -> None:
    from benchmarks.payload import make_request

    assert not any(suspicious(make_request(seed, NOW, 64), 65_536) for seed in range(200))


PLACES: dict[str, Callable[[Any], Any]] = {
    "resource": lambda group: group.resource,
    "scope": lambda group: group.scope_spans[0].scope,
    "span": lambda group: group.scope_spans[0].spans[0],
    "event": lambda group: group.scope_spans[0].spans[0].events.add(),
    "link": lambda group: group.scope_spans[0].spans[0].links.add(),
}


@pytest.mark.parametrize("place", list(PLACES))
@pytest.mark.parametrize("name", list(nested()))
def test_nested_values_are_seen_wherever_they_are(name: str, place: str) -> None:
    message = request(1, 3, now_ns=NOW)
    # Beside arrays that are not empty, which must not hide one that is.
    full = AnyValue()
    full.array_value.values.append(AnyValue(string_value="a"))
    attributes = PLACES[place](message.resource_spans[0]).attributes
    for value in (full, nested()[name][0], full):
        attributes.append(KeyValue(key="x", value=value))
    assert suspicious(message.SerializeToString(), 10**9)


def test_what_is_passed_unread_is_what_the_repair_would_leave_alone() -> None:
    """Damaged and odd requests: the real parser and the repair as oracle of the quick look."""
    chance, passed = random.Random(5), 0
    values = [value for value, _ in nested().values()]
    for seed in range(3000):
        message = request(seed, chance.randrange(1, 5), now_ns=NOW)
        if chance.random() < 0.3:
            place = PLACES[chance.choice(list(PLACES))](message.resource_spans[0])
            place.attributes.append(KeyValue(key="x", value=chance.choice(values)))
        body = bytearray(message.SerializeToString())
        for _ in range(chance.randrange(3)):
            at = chance.randrange(len(body))
            body[at] = chance.choice(
                [chance.randrange(256), 0x12, 0x0A, 0x2A, 0x3A, body[at] ^ 1 << chance.randrange(8)]
            )
        try:
            checked = check_traces(bytes(body), LIMITS, NOW)
        except Malformed:
            continue
        parsed = ExportTraceServiceRequest.FromString(bytes(body))
        spans = sum(len(scope.spans) for group in parsed.resource_spans for scope in group.scope_spans)
        repaired = repair_traces(parsed, LIMITS, LIMITS.window(NOW))
        assert checked.items == spans - sum(repaired.rejected.values())
        assert repaired.changed == (checked.body != bytes(body))
        passed += not repaired.changed
    assert passed > 1000


def test_json_of_repairs_can_be_read() -> None:
    value, _ = nested()["in an array"]
    _, found = check(with_value(value))
    assert json.loads(text(found[1], "x"))[0] == "s"
