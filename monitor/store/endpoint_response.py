"""Runs one query and sends its answer, piece by piece, as a ClickHouse server does.

All that waits for the engine happens on a worker thread; meanwhile the event loop listens whether the client
is still there, and stops the query if it is not.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from monitor.store.endpoint_encoding import encoder
from monitor.store.endpoint_engine import Answer, Engine
from monitor.store.endpoint_errors import EndpointError
from monitor.store.endpoint_request import Asked
from monitor.store.endpoint_settings import QueryLimits

__all__ = ["QueryResponse", "error_response"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_DISPLAY_NAME = "inference-monitor"
# Answers up to this size (a server's default buffer) go out in one piece, with their length, the final numbers
# in the summary, and the right status if they fail; longer ones follow in pieces.
_SMALL_BYTES = 1 << 20
_PIECE_BYTES = 256 << 10
# After the engine's own time limit: how long sending may still take before the place is given to somebody
# else.
_SENDING_GRACE_S = 5.0
_STOP_AGAIN_S = 0.5


class Places(Protocol):
    """Where queries run: worker threads, and a place to be waited for."""

    limits: QueryLimits

    def place(self, asked: Asked) -> AbstractAsyncContextManager[None]: ...

    def work(self, task: Callable[[], object]) -> Future[object]: ...

    async def finish(self, close: Callable[[], None]) -> None: ...


class _Gone(Exception):
    """The client closed its connection."""


def error_response(error: EndpointError, version: str, query_id: str = "") -> Response:
    """An error before the first byte of an answer."""
    headers = {
        "X-ClickHouse-Exception-Code": str(error.code),
        "X-ClickHouse-Server-Display-Name": _DISPLAY_NAME,
    }
    if query_id:
        headers["X-ClickHouse-Query-Id"] = query_id
    if error.status == 503:
        headers["Retry-After"] = "1"
    # A name from a request may hold what UTF-8 cannot.
    body = error.body(version).encode(errors="replace")
    return PlainTextResponse(body, status_code=error.status, headers=headers)


class QueryResponse(Response):
    """The answer to one query."""

    def __init__(self, endpoint: Places, engine: Engine, asked: Asked) -> None:
        super().__init__()
        assert asked.query is not None
        self._endpoint, self._engine, self._asked, self._query = endpoint, engine, asked, asked.query
        self._query_id = asked.query_id or str(uuid.uuid4())
        self._tag = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(16))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(_disconnected(receive))
        try:
            async with self._endpoint.place(self._asked):
                await self._answer(gone, send)
        except EndpointError as error:
            await error_response(error, self._engine.version, self._query_id)(scope, receive, send)
        except _Gone:
            _log.debug("query %s stopped: its client went away", self._query_id)
        finally:
            gone.cancel()

    async def _answer(self, gone: asyncio.Task[None], send: Send) -> None:
        deadline = asyncio.get_running_loop().time() + self._endpoint.limits.max_execution_time_s + _SENDING_GRACE_S
        output = await self._unless_gone(gone, self._start)
        try:
            try:
                # Without a piece that is known to be the last, the length is not known either.
                first, is_last = await self._unless_gone(gone, output.first)
                await send(self._head(output.answer, len(first) if is_last else None))
                piece = first
                while True:
                    async with asyncio.timeout_at(deadline):
                        await send({"type": "http.response.body", "body": piece, "more_body": not is_last})
                    if is_last:
                        return
                    piece, is_last = await self._unless_gone(gone, lambda: self._next(output))
            except TimeoutError:
                # Without the end of the body the server closes the connection, so the client sees that it is
                # cut off.
                _log.warning("query %s: its client did not take the answer in time", self._query_id)
        finally:
            await self._endpoint.finish(output.close)

    def _start(self) -> _Output:
        answer = self._engine.start(self._query)
        return _Output(
            answer, self._asked, self._endpoint.limits.buffer_bytes if self._asked.hold_back else _SMALL_BYTES
        )

    def _next(self, output: _Output) -> tuple[bytes, bool]:
        try:
            return output.next()
        except EndpointError as error:
            # The status is sent; ClickHouse says the error inside the body, between marks that a header
            # announced.
            text = error.body(self._engine.version)
            size = len(text.encode())
            block = f"\r\n__exception__\r\n{self._tag}\r\n{text}{size} {self._tag}\r\n__exception__\r\n"
            return output.last(block.encode(errors="replace")), True

    def _head(self, answer: Answer, length: int | None) -> dict[str, Any]:
        summary = {
            "read_rows": answer.read_rows,
            "read_bytes": answer.read_bytes,
            "written_rows": 0,
            "written_bytes": 0,
            "total_rows_to_read": 0,
            "result_rows": answer.result_rows,
            "result_bytes": answer.result_bytes,
            "elapsed_ns": answer.elapsed_ns,
        }
        headers = {
            "Content-Type": answer.content_type,
            "X-ClickHouse-Summary": json.dumps({name: str(value) for name, value in summary.items()}),
            "X-ClickHouse-Query-Id": self._query_id,
            "X-ClickHouse-Server-Display-Name": _DISPLAY_NAME,
            "X-ClickHouse-Format": answer.format_name,
            "X-ClickHouse-Timezone": self._query.settings.get("session_timezone") or self._engine.timezone,
            "X-ClickHouse-Exception-Tag": self._tag,
        }
        if self._asked.encoding and not self._asked.native_blocks:
            headers["Content-Encoding"] = self._asked.encoding
        if length is not None:
            headers["Content-Length"] = str(length)
        raw = [(name.lower().encode(), value.encode("latin-1", errors="replace")) for name, value in headers.items()]
        return {"type": "http.response.start", "status": 200, "headers": raw}

    async def _unless_gone(self, gone: asyncio.Task[None], task: Callable[[], _T]) -> _T:
        """Wait for work on a thread; if the client goes away first, stop the query and wait for that."""
        work: asyncio.Future[Any] = asyncio.wrap_future(self._endpoint.work(task))
        try:
            await asyncio.wait({gone, work}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                result: _T = work.result()
                return result
            while not work.done():
                # Again, since the first may have come before the engine knew the query.
                await asyncio.to_thread(self._engine.stop, self._query.mark)
                await asyncio.wait({work}, timeout=_STOP_AGAIN_S)
        except asyncio.CancelledError:
            self._engine.stop(self._query.mark)
            work.add_done_callback(_closed)
            raise
        _closed(work)
        raise _Gone


def _closed(work: asyncio.Future[Any]) -> None:
    if not work.cancelled() and work.exception() is None and isinstance(work.result(), _Output):
        work.result().close()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Output:
    """The bytes of an answer, compressed as asked for, in pieces worth sending. Lives on worker threads."""

    def __init__(self, answer: Answer, asked: Asked, first_bytes: int) -> None:
        self.answer = answer
        self._pieces: Iterator[bytes] = iter(answer)
        self._encoder = encoder(asked.encoding, native_blocks=asked.native_blocks)
        self._first_bytes = first_bytes
        # A request that is cancelled closes this while a thread may still be at a piece.
        self._lock = threading.Lock()

    def first(self) -> tuple[bytes, bool]:
        """As much as may be held back, and whether that is all. An error in it still sets the status."""
        return self._gathered(self._first_bytes)

    def next(self) -> tuple[bytes, bool]:
        return self._gathered(_PIECE_BYTES)

    def last(self, piece: bytes) -> bytes:
        return self._encoder.add(piece) + self._encoder.end()

    def close(self) -> None:
        with self._lock:
            self.answer.close()

    def _gathered(self, wanted_bytes: int) -> tuple[bytes, bool]:
        gathered, size = [], 0
        with self._lock:
            for piece in self._pieces:
                gathered.append(self._encoder.add(piece))
                # What is held back is counted before compression: that is what had to be computed.
                size += len(piece)
                if size >= wanted_bytes:
                    return b"".join(gathered), False
            gathered.append(self._encoder.end())
        return b"".join(gathered), True
