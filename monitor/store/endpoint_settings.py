"""Which settings a reader may give, and how far.

A server with `readonly = 1` refuses every setting; here those that only shape the answer, or make the limits
narrower, are applied for the one query. Everything else is refused with the number a server would use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from monitor.store.client import QUERY_PRIORITY, half_the_cores
from monitor.store.endpoint_errors import EndpointError

__all__ = ["TRANSPORT", "QueryLimits", "SettingsPolicy", "base_settings"]


@dataclass(frozen=True, kw_only=True)
class QueryLimits:
    """What one query, and all queries together, may take. Zero means "no limit" where it says so.

    Attributes
    ----------
    max_execution_time_s : float
        Longest run of a query, sending the answer included, in seconds. 60: what Grafana asks for.
    max_memory_bytes : int
        Memory of one query inside the engine.
    max_threads : int
        Threads of one query; 0 takes half the processor cores (at least one), so that ingest keeps the rest.
    max_result_rows : int
        Rows of an answer; 0 is no limit.
    max_result_bytes : int
        Size, inside the engine, of an answer in a format that has to be complete before it is sent (JSON,
        Arrow, Parquet, …). Its text can be several times that. Formats that are sent block by block (Native,
        TSV, CSV, RowBinary, JSONEachRow) are not limited by it, since they are never in memory as a whole.
    max_query_bytes : int
        Length of the text of a query.
    max_request_bytes : int
        Length of a request's body, after decompression.
    max_temporary_bytes : int
        Disk that one query may use for sorting and grouping what does not fit into its memory; 0 is no limit.
    buffer_bytes : int
        With `wait_end_of_query=1`: how much of the answer is held back so that a late error still gets its
        HTTP status.
    queue_max : int
        Queries that may wait for a free place; more are refused at once.
    queue_wait_s : float
        Longest wait for a free place, in seconds.
    """

    max_execution_time_s: float = 60.0
    max_memory_bytes: int = 2 << 30
    max_threads: int = 0
    max_result_rows: int = 0
    max_result_bytes: int = 128 << 20
    max_query_bytes: int = 1 << 20
    max_request_bytes: int = 16 << 20
    max_temporary_bytes: int = 10 << 30
    buffer_bytes: int = 16 << 20
    queue_max: int = 16
    queue_wait_s: float = 10.0


# Parameters of the request that are not settings of the engine, or that this endpoint handles itself.
TRANSPORT = frozenset({
    "query", "database", "default_format", "user", "password", "query_id", "quota_key", "role", "session_id",
    "session_timeout", "session_check", "close_session", "buffer_size", "wait_end_of_query", "compress",
    "decompress", "stacktrace", "client_protocol_version", "enable_http_compression",
    "http_zlib_compression_level", "send_progress_in_http_headers", "http_headers_progress_interval_ms",
    "cancel_http_readonly_queries_on_client_close", "add_http_cors_header",
    "http_write_exception_in_output_format", "http_wait_end_of_query", "http_response_buffer_size",
})  # fmt: skip

_PLAIN = frozenset({
    "aggregate_functions_null_for_empty", "any_join_distinct_right_table_keys",
    "cast_string_to_dynamic_use_inference", "date_time_input_format", "date_time_output_format",
    "distributed_foreground_insert", "distributed_product_mode", "extremes",
    "final", "group_by_use_nulls", "interval_output_format", "join_default_strictness", "join_use_nulls",
    "limit", "max_block_size", "max_bytes_to_read", "max_rows_to_read", "offset",
    "partial_result_on_first_cancel", "prefer_column_name_to_alias", "read_overflow_mode",
    "result_overflow_mode", "session_timezone", "timeout_overflow_mode", "totals_mode", "transform_null_in",
    "union_default_mode", "use_client_time_zone",
})  # fmt: skip

# Of the settings of output formats, these name files, addresses or secrets (`output_format_schema` writes a
# file).
_SHAPE = re.compile(r"^(?:output_format_|format_)(?!schema|template_|avro_schema_registry|display_secrets)[a-z0-9_]+$")


class SettingsPolicy:
    """Decides on each setting of a request."""

    def __init__(self, limits: QueryLimits, current: Mapping[str, str]) -> None:
        """`current` holds every setting of the engine with the value a query runs with if nothing is said."""
        self._current = current
        self._caps = {
            "max_execution_time": limits.max_execution_time_s,
            "max_memory_usage": limits.max_memory_bytes,
            "max_threads": _threads(limits),
            "max_result_rows": limits.max_result_rows,
            "max_result_bytes": limits.max_result_bytes,
        }

    def admit(self, name: str, value: str) -> str | None:
        """The value to set, or None if there is nothing to do.

        Raises
        ------
        EndpointError
            115 unknown, 164 not for readers, 452 wider than the limit.
        """
        current = self._current.get(name)
        if current is None:
            raise EndpointError(115, f"Unknown setting '{name}'.")
        if name == "readonly" and value in ("1", "2"):
            return None
        if name in self._caps:
            return self._capped(name, value)
        if name in _PLAIN or _SHAPE.match(name):
            return value
        if _same(value, current):
            return None
        raise EndpointError(164, f"Cannot modify '{name}' setting in readonly mode.")

    def _capped(self, name: str, value: str) -> str | None:
        cap = self._caps[name]
        if _same(value, self._current[name]):
            return None
        try:
            wanted = float(value)
        except ValueError:
            raise EndpointError(
                72, f"Cannot parse number '{value}' for setting {name}.", "CANNOT_PARSE_NUMBER"
            ) from None
        # Zero means "no limit" to the engine, and NaN is never in order.
        if cap > 0 and not 0 < wanted <= cap:
            raise EndpointError(452, f"Setting {name} shouldn't be greater than {cap:g}, nor 0.")
        return value


def base_settings(limits: QueryLimits) -> dict[str, str]:
    """Settings of every query, in force before anything of a request is."""
    return {
        "max_execution_time": f"{limits.max_execution_time_s:g}",
        "max_memory_usage": str(limits.max_memory_bytes),
        "max_threads": str(_threads(limits)),
        "priority": str(QUERY_PRIORITY),
        "max_result_rows": str(limits.max_result_rows),
        "max_query_size": str(limits.max_query_bytes),
        "max_temporary_data_on_disk_size_for_query": str(limits.max_temporary_bytes),
        "allow_introspection_functions": "0",
        "allow_ddl": "0",
    }


def _threads(limits: QueryLimits) -> int:
    return limits.max_threads or half_the_cores()


def _same(value: str, current: str) -> bool:
    words = {"true": "1", "false": "0"}
    return words.get(value.lower(), value) == words.get(current.lower(), current)
