"""Inserting one write-ahead segment: the same for the embedded engine, which reads the file, and a server, which gets it."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Final

from monitor.errors import BadInput
from monitor.store import unsure
from monitor.store.broken import WriteWatch
from monitor.store.client import Client, error_code, is_embedded, store_path
from monitor.store.flatten import TRACES, Flattening, FlattenOptions, literal
from monitor.store.flatten_logs import LOGS
from monitor.store.flatten_metrics import METRICS
from monitor.store.unsure import SpanId

FLATTENINGS: Final[dict[str, Flattening]] = {"traces": TRACES, "logs": LOGS, "metrics": METRICS}

# What ClickHouse says when the bytes are not what the schema wants; anything else is not the data's fault.
_DATA_ERRORS: Final = frozenset({6, 25, 26, 27, 32, 33, 38, 41, 53, 69, 70, 72, 117, 128, 131, 321, 407, 436, 444, 636})

_SETTINGS: Final[dict[str, Any]] = {
    "format_schema_message_name": "Request",
    # The token must mean the same rows in the same blocks each time: one reader, one order, nothing queued.
    "async_insert": 0,
    "max_insert_threads": 1,
    "deduplicate_insert_select": "force_enable",
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # One block where memory allows: a segment is far below the row limit.
    "min_insert_block_size_rows": 1_048_449,
    "min_insert_block_size_bytes": 0,
    # Every insert pays for the analysis of all views. The first hashes all sub-selects below for each AND of comparisons,
    # the second goes over each step of the plan; there is nothing to find in a pass over one block.
    "optimize_and_compare_chain": 0,
    "query_plan_enable_optimizations": 0,
    # Text in arrays as everybody else writes it: "a/b", not "a\/b".
    "output_format_json_escape_forward_slashes": 0,
    # Back-filled history may span more days than the default allows in one insert.
    "max_partitions_per_insert_block": 0,
    "throw_on_max_partitions_per_insert_block": 0,
}


_CHUNK_BYTES: Final = 1 << 20
_SCHEMA_GONE: Final = "in the schema file"


class SegmentInserter:
    """Inserts segments of one signal through one client; not for use by several threads at once."""

    def __init__(self, client: Client, url: str, options: FlattenOptions, signal: str = "traces") -> None:
        self._client = client
        self._writes = WriteWatch(client)
        self._embedded = is_embedded(url)
        self._options = options
        self._flattening = FLATTENINGS[signal]
        self._settings = {**_SETTINGS, **self._schema(url)}
        source = f"input({literal(self._flattening.structure)})"
        self._over_http = f"{self._flattening.insert(source, options)} FORMAT Protobuf"

    def insert(self, path: Path, token: str) -> None:
        """Insert all requests of a segment, once for each token however often it is called.

        Raises
        ------
        WritesFailed
            If they were taken, and may be lost all the same; the token may be known to the store although they are.
        ClickHouse's errors; `is_data_error` tells whether the segment itself is at fault.
        """
        try:
            self._send(path, {**self._settings, "insert_deduplication_token": token})
        except Exception as error:
            if error_code(error) is not None:  # it answers; what it says may come of what it could not write
                self._after_refusal(error)
            raise
        self._writes.look()

    def _schema(self, url: str) -> dict[str, str]:
        """How the engine gets the schema of requests."""
        if self._embedded:
            # A text would be written to a file of the working folder, which need not be writable.
            return {
                "format_schema_source": "file",
                "format_schema": str(_schema_file(store_path(url), self._flattening.schema)),
            }
        return {"format_schema_source": "string", "format_schema": self._flattening.schema}

    def _send(self, path: Path, settings: dict[str, Any]) -> None:
        if self._embedded:
            source = f"file({literal(str(path.resolve()))}, Protobuf, {literal(self._flattening.structure)})"
            self._client.command(self._flattening.insert(source, self._options), settings=settings)
        else:
            # Not `command`, which decodes and copies all bytes to see what kind of statement they may be. Without a
            # table the statement is part of the body; the driver allows it, its base class does not say so.
            self._client.raw_insert(None, insert_block=self._body(path), settings=settings)  # type: ignore[arg-type]

    def _after_refusal(self, error: Exception) -> None:
        if _SCHEMA_GONE in str(error):
            # The engine writes the schema that comes with a statement to a file, and reads that ever after, also if
            # it is empty because the disk was full.
            self._client.command("SYSTEM DROP FORMAT SCHEMA CACHE")
        self._writes.look()

    def look(self) -> None:
        """While there is nothing to insert: put right what merges could not write, before what they merged is deleted.

        Raises
        ------
        WritesFailed
            If there was something. Segments that were inserted before are not affected.
        """
        self._writes.look()

    def _body(self, path: Path) -> Generator[bytes]:
        yield f"{self._over_http}\n".encode()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def absent(self, spans: Sequence[SpanId]) -> set[SpanId]:
        """After an insert that may have been lost: which of these spans are not stored; what views make of the others is.

        None where the store writes rows and tokens in one step.
        """
        if not unsure.can_be_unsure(self._client):
            return set()
        lost = unsure.absent(self._client, spans)
        self._writes.look()  # chDB's HTTP interface buffers answers in files: one that it could not write comes empty
        unsure.fill_views(self._client, {trace for trace, span in spans if (trace, span) not in lost})
        return lost

    def close(self) -> None:
        self._client.close()


def _schema_file(store: Path, schema: str) -> Path:
    """A schema's own file in the store's folder, made if it is not there, or not whole since the machine went down."""
    file = store / "format_schemas" / f"{hashlib.sha256(schema.encode()).hexdigest()[:16]}.proto"
    if not file.exists() or file.read_text(encoding="utf-8") != schema:
        file.parent.mkdir(exist_ok=True)
        new = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        new.write_text(schema, encoding="utf-8")
        new.replace(file)
    return file


# What ClickHouse adds when rows were on their way to other servers of a cluster.
_ON_THE_WAY: Final = ("Insertion status:", "while receiving packet from")


def is_data_error(error: BaseException) -> bool:
    """Whether ClickHouse could not read the bytes, so that the same bytes will fail again.

    A shard that dies while it answers gives the same error as bytes that end too early. Once rows are on their way to
    shards, the bytes have been read; some shards may have their rows, and only the same token keeps them from having
    them twice.
    """
    if isinstance(error, BadInput):
        return True
    return error_code(error) in _DATA_ERRORS and not any(text in str(error) for text in _ON_THE_WAY)
