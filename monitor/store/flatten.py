"""OTLP trace requests to rows of `otel_traces`, as one INSERT that ClickHouse itself parses.

A write-ahead segment is a run of length-delimited protobuf messages, each an accepted
`ExportTraceServiceRequest`. That is what the input format `Protobuf` reads, so a
span never becomes a Python object: this module only writes the statement. What it says about attributes holds for logs and
metrics too (`flatten_logs`, `flatten_metrics`).

Choices that the measurements in `docs/performance.md` speak for:

- The protobuf schema leaves out what `otel_traces` has no column for, and the recursion of `AnyValue`. What is rare
  (nested arrays, key-value lists, byte strings, over-long values, impossible times) is repaired by the receiver before
  it is logged (`collectors.otlp.repair`), so that this statement, which every span passes, need not look for it.
- Values reach a lambda as parallel arrays of their subcolumns, not as an array of tuples; concatenating the arms of
  the `oneof` (all but one are empty) is faster than choosing among them.
- Keys are plain strings until they are written: building a dictionary while parsing costs more than testing each key.
- Privacy is part of the statement, not of a view: it is a setting of the collector that inserts, and a salt must not
  stand in a table definition that every reader may see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from monitor import semconv
from monitor.settings import Settings

# The messages that all signals share, without the recursion of AnyValue.
COMMON_SCHEMA: Final = """message Resource { repeated KeyValue attributes = 1; }
message KeyValue { string key = 1; AnyValue value = 2; }
message AnyValue { oneof value {
  string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4; ArrayValue array_value = 5;
} }
message ArrayValue { repeated Item values = 1; }
message Item { oneof value { string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4; } }
"""

TRACES_SCHEMA: Final = (
    """syntax = "proto3";
message Request { repeated ResourceSpans resource_spans = 1; }
message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
message ScopeSpans { Scope scope = 1; repeated Span spans = 2; }
message Scope { string name = 1; string version = 2; }
message Span {
  bytes trace_id = 1; bytes span_id = 2; string trace_state = 3; bytes parent_span_id = 4; string name = 5; int32 kind = 6;
  fixed64 start_time_unix_nano = 7; fixed64 end_time_unix_nano = 8; repeated KeyValue attributes = 9;
  repeated Event events = 11; repeated Link links = 13; Status status = 15;
}
message Event { fixed64 time_unix_nano = 1; string name = 2; repeated KeyValue attributes = 3; }
message Link { bytes trace_id = 1; bytes span_id = 2; string trace_state = 3; repeated KeyValue attributes = 4; }
message Status { string message = 2; int32 code = 3; }
"""
    + COMMON_SCHEMA
)

_SCALARS = "string_value String, bool_value Nullable(Bool), int_value Nullable(Int64), double_value Nullable(Float64)"
# An item's text may be missing: then, without another arm, it is null. An attribute without a value is as good as empty.
_ITEM = f"Tuple({_SCALARS.replace('string_value String', 'string_value Nullable(String)')})"
VALUE: Final = f"Tuple({_SCALARS}, array_value Tuple(values Array({_ITEM})))"
ATTRIBUTES: Final = f"Array(Tuple(key String, value {VALUE}))"
_EVENT = f"Tuple(time_unix_nano UInt64, name String, attributes {ATTRIBUTES})"
_LINK = f"Tuple(trace_id String, span_id String, trace_state String, attributes {ATTRIBUTES})"
_SPAN = (
    "Tuple(trace_id String, span_id String, trace_state String, parent_span_id String, name String, kind Int32,"
    f" start_time_unix_nano UInt64, end_time_unix_nano UInt64, attributes {ATTRIBUTES}, events Array({_EVENT}),"
    f" links Array({_LINK}), status Tuple(message String, code Int32))"
)
TRACES_STRUCTURE: Final = (
    f"resource_spans Array(Tuple(resource Tuple(attributes {ATTRIBUTES}),"
    f" scope_spans Array(Tuple(scope Tuple(name String, version String), spans Array({_SPAN})))))"
)

TRACES_COLUMNS: Final = (
    "Timestamp", "TraceId", "SpanId", "ParentSpanId", "TraceState", "SpanName", "SpanKind", "ServiceName",
    "ResourceAttributes", "ScopeName", "ScopeVersion", "SpanAttributes", "Duration", "StatusCode", "StatusMessage",
    "Events.Timestamp", "Events.Name", "Events.Attributes",
    "Links.TraceId", "Links.SpanId", "Links.TraceState", "Links.Attributes",
)  # fmt: skip

# SGLang names the span of each request by its id. A name is to be one of few; the id is in the attribute `rid`.
SGLANG_SCOPE: Final = "sglang server"
SGLANG_NAME: Final = r"^ ?(.* )?Req [0-9a-f]{8}$"


@dataclass(frozen=True, kw_only=True)
class Flattening:
    """How one signal's requests are read and where their rows go.

    Attributes
    ----------
    schema : str
        The protobuf schema of `Request`.
    structure : str
        The same as a ClickHouse table structure.
    insert : callable
        The INSERT … SELECT for one segment; its first argument is the FROM clause that yields `structure`.
    """

    schema: str
    structure: str
    insert: Callable[[str, FlattenOptions], str]


@dataclass(frozen=True, kw_only=True)
class FlattenOptions:
    """What one collector keeps of a span; see `monitor.settings` for each."""

    capture_content: bool
    user_salt: str | None
    redact: tuple[str, ...]
    model_by_service: tuple[tuple[str, str], ...]

    @classmethod
    def from_settings(cls, settings: Settings) -> FlattenOptions:
        privacy = settings.privacy
        return cls(
            capture_content=privacy.capture_content,
            user_salt=privacy.salt.get_secret_value() if privacy.hash_user_ids else None,
            redact=tuple(privacy.redact),
            model_by_service=tuple(sorted(settings.models.by_service.items())),
        )


def literal(text: str) -> str:
    """A ClickHouse string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\0", "\\0")
    return f"'{escaped}'"


def literals(texts: Any) -> str:
    return ", ".join(literal(text) for text in texts)


def insert_traces(source: str, options: FlattenOptions) -> str:
    """The INSERT … SELECT for one segment; `source` is the FROM clause that yields `TRACES_STRUCTURE`."""
    columns = ", ".join(f"`{column}`" for column in TRACES_COLUMNS)
    return f"INSERT INTO otel_traces ({columns}) {select_traces(source, options)}"


def select_traces(source: str, options: FlattenOptions) -> str:
    span_attributes = attribute_map("s.attributes", options)
    event_attributes = attribute_map("e.attributes", options, event="1")
    link_attributes = attribute_map("l.attributes", options)
    resources = attribute_map("resource_spans.resource.attributes", options)
    service = "resource_attributes['service.name']"
    return f"""
SELECT
    fromUnixTimestamp64Nano(toInt64(s.start_time_unix_nano)) AS Timestamp,
    lower(hex(s.trace_id)) AS TraceId,
    lower(hex(s.span_id)) AS SpanId,
    if(length(s.parent_span_id) != 8 OR s.parent_span_id = unhex('0000000000000000'), '', lower(hex(s.parent_span_id))) AS ParentSpanId,
    s.trace_state AS TraceState,
    if(scope.name = {literal(SGLANG_SCOPE)}, replaceRegexpOne(s.name, {literal(SGLANG_NAME)}, '\\\\1Req'), s.name) AS SpanName,
    transform(s.kind, [1, 2, 3, 4, 5], ['Internal', 'Server', 'Client', 'Producer', 'Consumer'], 'Unspecified') AS SpanKind,
    {service} AS ServiceName,
    resource_attributes AS ResourceAttributes,
    scope.name AS ScopeName,
    scope.version AS ScopeVersion,
    {span_attributes} AS SpanAttributes,
    if(s.end_time_unix_nano > s.start_time_unix_nano, s.end_time_unix_nano - s.start_time_unix_nano, 0) AS Duration,
    transform(s.status.code, [1, 2], ['Ok', 'Error'], 'Unset') AS StatusCode,
    s.status.message AS StatusMessage,
    arrayMap(t -> fromUnixTimestamp64Nano(toInt64(t)), s.events.time_unix_nano) AS `Events.Timestamp`,
    s.events.name AS `Events.Name`,
    arrayMap(e -> {event_attributes}, s.events) AS `Events.Attributes`,
    arrayMap(t -> lower(hex(t)), s.links.trace_id) AS `Links.TraceId`,
    arrayMap(t -> lower(hex(t)), s.links.span_id) AS `Links.SpanId`,
    s.links.trace_state AS `Links.TraceState`,
    arrayMap(l -> {link_attributes}, s.links) AS `Links.Attributes`
FROM (
    SELECT resource_attributes, scope_spans.scope AS scope, arrayJoin(scope_spans.spans) AS s FROM (
        SELECT {resource_map(resources, options)} AS resource_attributes, arrayJoin(resource_spans.scope_spans) AS scope_spans
        FROM (SELECT arrayJoin(resource_spans) AS resource_spans FROM {source})
    )
)""".strip()


def resource_map(plain: str, options: FlattenOptions) -> str:
    """The map of a resource's attributes, with what the operator knows about it."""
    if not options.model_by_service:
        return plain
    # An engine that sends no model name: the operator's map says what the service serves.
    services, models = zip(*options.model_by_service, strict=True)
    model = f"transform(({plain})['service.name'], [{literals(services)}], [{literals(models)}], '')"
    return f"mapConcat({plain}, map('monitor.model', {model}))"


def attribute_map(attributes: str, options: FlattenOptions, *, event: str = "0") -> str:
    """SQL that turns an array of key-value tuples into `Map(String, String)`.

    `event` is a condition: whether the attributes are those of an event, whose bare `content` is what was said.
    """
    arms = ", ".join(
        f"{attributes}.value.{arm}"
        for arm in ("string_value", "int_value", "double_value", "bool_value", "array_value.values")
    )
    value = _private(VALUE_TEXT, options, event=event)
    return f"mapFromArrays({attributes}.key, arrayMap((k, s, n, d, b, a) -> {value}, {attributes}.key, {arms}))"


def _value_text() -> str:
    # All arms but one are empty, so the concatenation is the value.
    numbers = "ifNull(toString({0}), ''), ifNull(toString({1}), '')"
    # JSON has no NaN or infinity; as text they stay what they are.
    double = "if(isFinite(i.double_value), toString(i.double_value), toJSONString(toString(i.double_value)))"
    item = (
        "multiIf(i.double_value IS NOT NULL, assumeNotNull({double}),"
        " i.int_value IS NULL AND i.bool_value IS NULL, ifNull(toJSONString(i.string_value), 'null'),"
        f" concat({numbers.format('i.int_value', 'i.bool_value')}))"
    ).replace("{double}", double)
    # An empty one cannot be told from none here; the receiver writes it as text.
    array = f"if(notEmpty(a), concat('[', arrayStringConcat(arrayMap(i -> {item}, a), ','), ']'), '')"
    return f"concat(s, {numbers.format('n', 'd')}, ifNull(toString(b), ''), {array})"


# An AnyValue as text, out of its arms `s`, `n`, `d`, `b` (text, integer, double, boolean) and `a` (array).
VALUE_TEXT: Final = _value_text()


def redacted(text: str, options: FlattenOptions) -> str:
    for pattern in options.redact:
        text = f"replaceRegexpAll({text}, {literal(pattern)}, '[redacted]')"
    return text


def _private(value: str, options: FlattenOptions, *, event: str) -> str:
    text = redacted(value, options)
    if options.user_salt is not None:
        # Of any type, and before redaction, which would make one user of many.
        hashed = f"lower(hex(SHA256(concat({literal(options.user_salt)}, {value}))))"
        unnamed = f"replaceRegexpAll({text}, {literal(semconv.USER_IN_JSON)}, {literal(semconv.USER_HIDDEN)})"
        in_json = f"match(k, {literal(semconv.PARAMETER_KEYS)})"
        text = f"multiIf(k IN ({literals(semconv.USER_KEYS)}) AND notEmpty({value}), {hashed}, {in_json}, {unnamed}, {text})"
    if not options.capture_content:
        content = f"(match(k, {literal(semconv.CONTENT_KEYS)}) AND NOT match(k, {literal(semconv.NO_CONTENT_KEYS)}))"
        if event != "0":
            content = f"({content} OR ({event} AND match(k, {literal(semconv.CONTENT_EVENT_KEYS)})))"
        text = f"if({content}, '', {text})"
    return text


TRACES: Final = Flattening(schema=TRACES_SCHEMA, structure=TRACES_STRUCTURE, insert=insert_traces)
