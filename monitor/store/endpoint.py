"""The ClickHouse HTTP interface of the embedded store, for reading.

One process owns the store's folder; everybody else (the dashboard, `monitor query`, curl, Grafana, DBeaver,
any clickhouse-connect client) asks it here, in the same way as a real server. See
docs/clickhouse-endpoint.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from monitor.store.endpoint_engine import Engine
from monitor.store.endpoint_errors import EndpointError
from monitor.store.endpoint_request import Asked, Login, read_request
from monitor.store.endpoint_response import QueryResponse, error_response
from monitor.store.endpoint_settings import QueryLimits

__all__ = ["Endpoint", "QueryLimits", "build_app"]

_NO_HANDLE = """There is no handle {path}

Use / or /ping for health checks.
Send queries with POST to / or with GET /?query=...
"""


def build_app(
    url: str,
    *,
    limits: QueryLimits | None = None,
    user: str | None = None,
    password: str | None = None,
    pool_size: int = 4,
) -> Starlette:
    """The web application over an embedded store, opened now and closed with the application's lifespan.

    Parameters
    ----------
    url : str
        `chdb:///absolute/folder`; other handles of this process may have it open too.
    limits : QueryLimits, optional
        What a query may take.
    user, password : str, optional
        Who may ask; without both, everybody who reaches the port.
    pool_size : int
        Queries that run at the same time.

    Raises
    ------
    MonitorError
        If the store cannot be opened.
    """
    endpoint = Endpoint(url, limits or QueryLimits(), Login(user=user, password=password), pool_size)
    endpoint.open()

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        endpoint.open()
        try:
            yield
        finally:
            await asyncio.to_thread(endpoint.close)

    app = Starlette(
        lifespan=lifespan,
        routes=[
            Route("/", endpoint.answer, methods=["GET", "POST", "HEAD"]),
            Route("/ping", _ok, methods=["GET", "HEAD"]),
            Route("/replicas_status", _ok, methods=["GET", "HEAD"]),
        ],
        exception_handlers={404: _no_handle},
    )
    app.state.endpoint = endpoint
    return app


class Endpoint:
    """The open store with its places for running queries."""

    def __init__(self, url: str, limits: QueryLimits, login: Login, pool_size: int) -> None:
        assert pool_size > 0, "an endpoint without a place for a query answers nothing"
        self.limits = limits
        self._url, self._login, self._pool_size = url, login, pool_size
        self._gate = _Gate(pool_size, limits.queue_max, limits.queue_wait_s)
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._running: set[str] = set()

    def open(self) -> None:
        """Open the store, if it is not open."""
        with self._lock:
            if self._engine is None:
                self._engine = Engine(self._url, self.limits)
                self._workers = ThreadPoolExecutor(self._pool_size, thread_name_prefix="clickhouse-read")

    def close(self) -> None:
        """Stop what runs and close all handles; harmless if it is closed."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is None:
            return
        for mark in tuple(self._running):
            engine.stop(mark)
        self._workers.shutdown(wait=True)
        engine.close()

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            raise EndpointError(236, "The service is going down.", "ABORTED")
        return self._engine

    async def answer(self, request: Request) -> Response:
        """Answer one request; errors become ClickHouse's."""
        try:
            asked = await read_request(request, self._login, max_bytes=self.limits.max_request_bytes)
            engine = self.engine
        except EndpointError as error:
            return error_response(error, self._version)
        if asked.query is None or request.method == "HEAD":
            return await _ok(request)
        return QueryResponse(self, engine, asked)

    @contextlib.asynccontextmanager
    async def place(self, asked: Asked) -> AsyncIterator[None]:
        """A place among the running queries, waited for."""
        assert asked.query is not None
        async with self._gate.place():
            self._running.add(asked.query.mark)
            try:
                yield
            finally:
                self._running.discard(asked.query.mark)

    def work(self, task: Callable[[], object]) -> Future[object]:
        """Run something that waits for the engine, off the event loop."""
        try:
            return self._workers.submit(task)
        except RuntimeError:
            raise EndpointError(236, "The service is going down.", "ABORTED") from None

    async def finish(self, close: Callable[[], None]) -> None:
        """Give back what a query holds, whatever happens around it."""
        try:
            await asyncio.shield(asyncio.wrap_future(self.work(close)))
        except EndpointError:
            close()

    @property
    def _version(self) -> str:
        return self._engine.version if self._engine else "unknown"


class _Gate:
    """Lets so many in, lets a few wait a while, and sends the others away at once."""

    def __init__(self, places: int, queue_max: int, wait_s: float) -> None:
        self._free = asyncio.Semaphore(places)
        self._places, self._queue_max, self._wait_s = places, queue_max, wait_s
        self._waiting = 0

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()
        try:
            yield
        finally:
            self._free.release()

    async def _wait(self) -> None:
        if self._waiting >= self._queue_max:
            raise self._too_many()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise self._too_many() from None
        finally:
            self._waiting -= 1

    def _too_many(self) -> EndpointError:
        return EndpointError(202, f"Too many simultaneous queries. Maximum: {self._places}, waiting: {self._waiting}.")


async def _ok(_: Request) -> Response:
    return PlainTextResponse("Ok.\n", media_type="text/html")


async def _no_handle(request: Request, _: Exception) -> Response:
    return PlainTextResponse(_NO_HANDLE.format(path=request.url.path), status_code=404)
