"""Queries of readers on the embedded engine: one handle a query; limits, then `readonly = 1`, then it runs.

A handle costs 0.6 ms, so none is kept: nothing of one reader's query can be left over for the next, and a
query can be found (and stopped) in `system.processes` by the mark that its handle carries in `log_comment`.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import chdb

from monitor.store.client import connect, store_path
from monitor.store.endpoint_errors import EndpointError, engine_error
from monitor.store.endpoint_settings import QueryLimits, SettingsPolicy, base_settings
from monitor.store.readonly import Catalogue, Refused, Statement, judge

__all__ = ["Answer", "Engine", "ReadQuery"]

DEFAULT_FORMAT = "TabSeparated"

# The engine hands out a running query block by block, each block in the wanted format. For these the blocks
# put one after another are the answer (tried: byte for byte the same); all other formats have a frame around
# the whole.
BLOCK_FORMATS = frozenset({
    "native", "tabseparated", "tsv", "tabseparatedraw", "tsvraw", "raw", "csv", "rowbinary", "jsoneachrow",
    "jsonlines", "ndjson", "jsoncompacteachrow", "jsonstringseachrow", "tskv", "msgpack", "lineasstring",
    "null",
})  # fmt: skip
# A complete answer leaves in pieces of this size.
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ReadQuery:
    """What a client asks for, taken out of its HTTP request."""

    sql: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    database: str = ""
    format: str = ""
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)


class Engine:
    """Opens handles; safe to use from several threads."""

    def __init__(self, url: str, limits: QueryLimits) -> None:
        self._path = str(store_path(url))
        self._limits = limits
        # Opened through the one factory for its readable errors; it keeps the engine open, and stops queries.
        self._keeper = connect(url)
        try:
            self._base = base_settings(limits)
            with _Handle(self._path) as handle:
                handle.set(self._base)
                current = dict(handle.rows("SELECT name, value FROM system.settings"))
                self._policy = SettingsPolicy(limits, current | {"readonly": "1"})
                formats = handle.rows("SELECT name, content_type FROM system.formats WHERE is_output")
                self._content_types: dict[str, str] = {row[0]: row[1] for row in formats}
                functions = handle.rows("SELECT name FROM system.table_functions")
                self.version, self.timezone = handle.rows("SELECT version(), timezone()")[0]
            self._catalogue = Catalogue.of((row[0] for row in functions), self._content_types)
        except BaseException:
            self._keeper.close()
            raise

    def close(self) -> None:
        self._keeper.close()

    def start(self, query: ReadQuery) -> Answer:
        """Judge and start a query; blocks until it is known that it runs.

        Raises
        ------
        EndpointError
            With the engine's number, or 164 if the query does more than read.
        """
        admitted = self._admitted(query.settings)
        format_name = self._format_name(query.format)
        handle = _Handle(self._path)
        try:
            handle.set(self._base | {"log_comment": query.mark})
            statement = self._judge(handle, query)
            admitted |= self._admitted(statement.settings)
            streams = _streams(statement, statement.format or format_name, admitted)
            if not streams:
                admitted.setdefault("max_result_bytes", str(self._limits.max_result_bytes))
            handle.set(admitted)
            handle.use(query.database)
            # From here on the handle can neither write nor change its limits.
            handle.set({"readonly": "2" if _asks_for_settings(statement) else "1"})
            name = statement.format or format_name
            return Answer(
                handle,
                statement,
                query.parameters,
                name,
                self._content_types.get(name, "text/plain"),
                streams=streams,
            )
        except BaseException:
            handle.close()
            raise

    def stop(self, mark: str) -> None:
        """Ask the engine to stop the query with this mark, if it still runs."""
        self._keeper.command(f"KILL QUERY WHERE Settings['log_comment'] = '{mark}'")

    def _judge(self, handle: _Handle, query: ReadQuery) -> Statement:
        try:
            return judge(query.sql, rewrite=handle.rewrite, catalogue=self._catalogue, parameters=query.parameters)
        except Refused as refused:
            raise EndpointError(164, str(refused)) from None

    def _admitted(self, settings: Mapping[str, str]) -> dict[str, str]:
        values = {name: self._policy.admit(name, value) for name, value in settings.items()}
        return {name: value for name, value in values.items() if value is not None}

    def _format_name(self, name: str) -> str:
        if not name:
            return DEFAULT_FORMAT
        known = self._catalogue.output_formats.get(name.lower())
        if known is None:
            raise EndpointError(73, f"Unknown format {name}.")
        return known


class Answer:
    """A started query. Iterating gives the bytes of its answer; `close` stops it and closes its handle."""

    def __init__(
        self,
        handle: _Handle,
        statement: Statement,
        parameters: Mapping[str, str],
        format_name: str,
        content_type: str,
        *,
        streams: bool,
    ) -> None:
        self.format_name = format_name
        self.content_type = content_type
        self.read_rows = self.read_bytes = self.result_rows = self.result_bytes = 0
        self._handle = handle
        self._started_ns = time.monotonic_ns()
        run = self._blocks if streams else self._whole
        self._pieces = run(statement.text, dict(parameters))
        # The first piece now: most errors come before it, and then the HTTP status can still say so.
        self._first = next(self._pieces, None)

    @property
    def elapsed_ns(self) -> int:
        return time.monotonic_ns() - self._started_ns

    def __iter__(self) -> Iterator[bytes]:
        if self._first is not None:
            piece, self._first = self._first, None
            yield piece
            yield from self._pieces

    def close(self) -> None:
        self._pieces.close()
        self._handle.close()

    def _blocks(self, sql: str, parameters: dict[str, str]) -> Generator[bytes, None, None]:
        try:
            result = self._handle.connection.send_query(sql, self.format_name, params=parameters)
            try:
                for block in result:
                    self._count(block)
                    piece: bytes = block.bytes()
                    if piece:
                        yield piece
            finally:
                result.close()
        except RuntimeError as error:
            raise engine_error(error) from None

    def _whole(self, sql: str, parameters: dict[str, str]) -> Generator[bytes, None, None]:
        try:
            result = self._handle.connection.query(sql, self.format_name, params=parameters)
        except RuntimeError as error:
            raise engine_error(error) from None
        self._count(result)
        # A view on the engine's buffer: the text is never copied as a whole.
        view = memoryview(result.get_memview().view())
        for start in range(0, len(view), _PIECE_BYTES):
            yield bytes(view[start : start + _PIECE_BYTES])

    def _count(self, result: Any) -> None:
        self.read_rows += result.storage_rows_read()
        self.read_bytes += result.storage_bytes_read()
        self.result_rows += result.rows_read()
        self.result_bytes += result.bytes_read()


class _Handle:
    """One chDB connection with the few statements the endpoint itself runs on it."""

    def __init__(self, path: str) -> None:
        try:
            self.connection: Any = chdb.connect(path)  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise engine_error(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.connection.close()

    def set(self, settings: Mapping[str, str]) -> None:
        if settings:
            self._run("SET " + ", ".join(f"{name} = {_literal(value)}" for name, value in settings.items()))

    def use(self, database: str) -> None:
        if database:
            self._run("USE `" + database.replace("\\", "\\\\").replace("`", "\\`") + "`")

    def rewrite(self, sql: str) -> str:
        # Bound parameters are read in TSV's escaping.
        escaped = (
            sql.replace("\\", "\\\\")
            .replace("\t", "\\t")
            .replace("\n", "\\n")
            .replace("\r", "\\r")
            .replace("\0", "\\0")
        )
        return self._run("SELECT formatQuerySingleLine({sql:String})", "TSVRaw", {"sql": escaped}).decode()

    def rows(self, sql: str) -> list[list[str]]:
        return [json.loads(line) for line in self._run(sql, "JSONCompactStringsEachRow").splitlines()]

    def _run(self, sql: str, format_name: str = "Null", parameters: Mapping[str, str] | None = None) -> bytes:
        try:
            result: bytes = self.connection.query(sql, format_name, params=dict(parameters or {})).bytes()
        except RuntimeError as error:
            raise engine_error(error) from None
        return result


def _streams(statement: Statement, format_name: str, settings: Mapping[str, str]) -> bool:
    """Whether the blocks in a row are the answer: not with totals, extremes, or a shaped format."""
    shaped = any(name.startswith(("output_format_", "format_")) or name == "extremes" for name in settings)
    by_block = statement.is_select and format_name.lower() in BLOCK_FORMATS
    return by_block and not statement.has_totals and not shaped


def _asks_for_settings(statement: Statement) -> bool:
    """Whether this is a plain read of `system.settings`, without any function.

    Clients read there whether a setting may be given, and do not send those that may not. With `readonly = 1`
    the engine says "none", with 2 it says "all", which is nearer to the truth here; the request that gives
    one is judged by itself.
    """
    text = statement.text
    return text.startswith("SELECT name, value, readonly FROM system.settings") and not set(text) & set('()[]{}`"')


def _literal(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
