"""OTLP log requests to rows of `otel_logs`; see `monitor.store.flatten`."""

from __future__ import annotations

from typing import Final

from monitor.store.flatten import (
    ATTRIBUTES,
    COMMON_SCHEMA,
    VALUE,
    VALUE_TEXT,
    Flattening,
    FlattenOptions,
    attribute_map,
    redacted,
    resource_map,
)

LOGS_SCHEMA: Final = (
    """syntax = "proto3";
message Request { repeated ResourceLogs resource_logs = 1; }
message ResourceLogs { Resource resource = 1; repeated ScopeLogs scope_logs = 2; string schema_url = 3; }
message ScopeLogs { Scope scope = 1; repeated LogRecord log_records = 2; string schema_url = 3; }
message Scope { string name = 1; string version = 2; repeated KeyValue attributes = 3; }
message LogRecord {
  fixed64 time_unix_nano = 1; int32 severity_number = 2; string severity_text = 3; AnyValue body = 5;
  repeated KeyValue attributes = 6; fixed32 flags = 8; bytes trace_id = 9; bytes span_id = 10;
  fixed64 observed_time_unix_nano = 11; string event_name = 12;
}
"""
    + COMMON_SCHEMA
)

_RECORD = (
    f"Tuple(time_unix_nano UInt64, severity_number Int32, severity_text String, body {VALUE}, attributes {ATTRIBUTES},"
    " flags UInt32, trace_id String, span_id String, observed_time_unix_nano UInt64, event_name String)"
)
LOGS_STRUCTURE: Final = (
    f"resource_logs Array(Tuple(resource Tuple(attributes {ATTRIBUTES}), scope_logs Array(Tuple("
    f"scope Tuple(name String, version String, attributes {ATTRIBUTES}), log_records Array({_RECORD}), schema_url String)),"
    " schema_url String))"
)

LOGS_COLUMNS: Final = (
    "Timestamp", "TraceId", "SpanId", "TraceFlags", "SeverityText", "SeverityNumber", "ServiceName", "Body",
    "ResourceSchemaUrl", "ResourceAttributes", "ScopeSchemaUrl", "ScopeName", "ScopeVersion", "ScopeAttributes",
    "LogAttributes", "EventName",
)  # fmt: skip

# Events about models say in their body what was said to them; but for judgements, which have none.
_SAYS = "(startsWith({0}, 'gen_ai.') AND {0} != 'gen_ai.evaluation.result')"


def insert_logs(source: str, options: FlattenOptions) -> str:
    """The INSERT … SELECT for one segment; `source` is the FROM clause that yields `LOGS_STRUCTURE`."""
    # Events had their name in an attribute before OTLP had a field for it.
    named = "r.attributes.value.string_value[indexOf(r.attributes.key, 'event.name')]"
    name = f"if(r.event_name != '', r.event_name, {named})"
    says = _SAYS.format("event")
    arms = ("string_value", "int_value", "double_value", "bool_value", "array_value.values")
    body = redacted(
        f"arrayMap((s, n, d, b, a) -> {VALUE_TEXT}, {', '.join(f'[r.body.{arm}]' for arm in arms)})[1]", options
    )
    if not options.capture_content:
        body = f"if({says}, '', {body})"
    resources = attribute_map("resource_logs.resource.attributes", options)
    return f"""
INSERT INTO otel_logs ({", ".join(LOGS_COLUMNS)})
SELECT
    fromUnixTimestamp64Nano(toInt64(if(r.time_unix_nano = 0, r.observed_time_unix_nano, r.time_unix_nano))) AS Timestamp,
    {hex_id("r.trace_id", 16)} AS TraceId,
    {hex_id("r.span_id", 8)} AS SpanId,
    toUInt8(bitAnd(r.flags, 255)) AS TraceFlags,
    r.severity_text AS SeverityText,
    if(r.severity_number BETWEEN 0 AND 24, toUInt8(r.severity_number), 0) AS SeverityNumber,
    resource_attributes['service.name'] AS ServiceName,
    {body} AS Body,
    resource_url AS ResourceSchemaUrl,
    resource_attributes AS ResourceAttributes,
    scope_url AS ScopeSchemaUrl,
    scope.name AS ScopeName,
    scope.version AS ScopeVersion,
    {attribute_map("scope.attributes", options)} AS ScopeAttributes,
    {attribute_map("r.attributes", options, event=says)} AS LogAttributes,
    r.event_name AS EventName
FROM (
    SELECT resource_attributes, resource_url, scope_url, scope, r, {name} AS event FROM (
        SELECT resource_attributes, resource_url, scope_logs.schema_url AS scope_url, scope_logs.scope AS scope,
            arrayJoin(scope_logs.log_records) AS r
        FROM (
            SELECT {resource_map(resources, options)} AS resource_attributes, resource_logs.schema_url AS resource_url,
                arrayJoin(resource_logs.scope_logs) AS scope_logs
            FROM (SELECT arrayJoin(resource_logs) AS resource_logs FROM {source})
        )
    )
)""".strip()


def hex_id(column: str, size: int) -> str:
    """SQL for an id as the tables hold it: hexadecimal, or empty if it is none."""
    return f"if(length({column}) != {size} OR {column} = repeat('\\0', {size}), '', lower(hex({column})))"


LOGS: Final = Flattening(schema=LOGS_SCHEMA, structure=LOGS_STRUCTURE, insert=insert_logs)
