"""`monitor up`: store, collectors, jobs and dashboard of one machine, wired together in one process and one child."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial

import grpc
from starlette.types import ASGIApp

from alerts.book import refuse_wrong_rules
from collectors.otlp.api import ApiSettings
from collectors.otlp.grpc_receiver import make_server
from collectors.otlp.http_receiver import make_app
from collectors.pipeline import Pipeline
from monitor.errors import MonitorError
from monitor.jobs.job import Job
from monitor.jobs.scheduler import Scheduler
from monitor.serve.alerts import alert_routes
from monitor.serve.all_jobs import ALL_JOBS
from monitor.serve.dashboard import log_of, start_dashboard, stop_dashboard, wait_until_ready
from monitor.serve.datasets import dataset_routes
from monitor.serve.gpu import start_gpu_collector
from monitor.serve.heartbeat import Heartbeat
from monitor.serve.http import Limits, http_server, read_tls
from monitor.serve.jobs import run_route, start_jobs
from monitor.serve.login import refuse_open
from monitor.serve.notify_api import notify_routes
from monitor.serve.objectives import store_objectives
from monitor.serve.ports import address, bind, free_port, port_of
from monitor.settings import Settings
from monitor.store.client import Client, server_address
from monitor.store.endpoint import QueryLimits, build_app
from monitor.store.owner import Claim
from monitor.store.prepare import back_fill_store
from monitor.store.reader import with_user

logger = logging.getLogger(__name__)

GRPC_GRACE_S = 2.0

OnReady = Callable[[Mapping[str, str]], None]
Start = Callable[[contextlib.AsyncExitStack], Awaitable[dict[str, str]]]


def run(settings: Settings, *, dashboard: bool, on_ready: OnReady, jobs: Mapping[str, Job] = ALL_JOBS) -> None:
    """Serve until SIGINT or SIGTERM; `on_ready` is called with the addresses once all of them answer.

    Raises
    ------
    MonitorError
        If something cannot be started; nothing is left running then.
    """
    serve(settings, lambda stack: _start(settings, stack, jobs, dashboard=dashboard), on_ready)


def serve(settings: Settings, start: Start, on_ready: OnReady) -> None:
    """Claim the data folder, start what `start` starts and stop it at SIGINT or SIGTERM."""
    claim = Claim(settings.data)
    try:
        asyncio.run(serve_until_stopped(start, on_ready, claim))
    finally:
        claim.release()


async def serve_until_stopped(start: Start, on_ready: OnReady, claim: Claim | None = None) -> None:
    """Start what `start` starts, leave word of where it is if a folder is claimed, and stop it at SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        addresses = await start(stack)
        if claim is not None:
            claim.announce(addresses)
        on_ready(addresses)
        await stop.wait()
        logger.info("stopping")


async def _start(
    settings: Settings, stack: contextlib.AsyncExitStack, jobs: Mapping[str, Job], *, dashboard: bool
) -> dict[str, str]:
    """Start everything in order; the stack stops it in the reverse one."""
    section = settings.collectors
    host = section.host
    refuse_wrong_rules(settings)
    scheduler = Scheduler(settings, jobs=jobs)  # says first what the configuration says wrong of jobs
    http_socket = stack.enter_context(bind(host, section.http_port, "OTLP/HTTP", "--http-port"))
    # gRPC binds its port itself; asking first says at once, and quietly, if it is taken.
    grpc_port = free_port(host, section.grpc_port, "OTLP/gRPC", "--grpc-port")
    scheme = "https" if section.tls_cert else "http"
    addresses = {"http": f"{scheme}://{address(host, port_of(http_socket))}"}
    endpoint_socket: socket.socket | None = None
    if settings.embedded:
        endpoint_socket = stack.enter_context(
            bind(host, section.clickhouse_port, "the ClickHouse endpoint", "--clickhouse-port")
        )
        addresses["clickhouse"] = f"http://{address(host, port_of(endpoint_socket))}"
    else:
        addresses["clickhouse"] = server_address(settings.store_url)

    child: subprocess.Popen[bytes] | None = None
    log = log_of(settings)
    if dashboard:
        refuse_open(settings, host)
        port = free_port(host, section.dashboard_port, "the dashboard", "--dashboard-port")
        addresses["dashboard"] = f"http://{address(host, port)}"
        reading = with_user(addresses["clickhouse"], settings) if settings.embedded else settings.store_url
        # Started first: it takes longest, and the engine must not be open when a process is forked off.
        child = start_dashboard(reading, api_url=addresses["http"], settings=settings, host=host, port=port)
        stack.callback(stop_dashboard, child)

    heartbeat = await open_store(settings, stack, on_open=partial(store_objectives, settings))
    if endpoint_socket is not None:
        await stack.enter_async_context(http_server(embedded_endpoint(settings), endpoint_socket))

    addresses["grpc"] = address(
        host, await start_collectors(settings, stack, heartbeat, http_socket, grpc_port, scheduler)
    )
    start_back_fill(settings, stack)
    start_jobs(scheduler, stack)
    if child is not None:
        await asyncio.to_thread(wait_until_ready, child, addresses["dashboard"], log)
    return {name: addresses[name] for name in ("grpc", "http", "clickhouse", "dashboard") if name in addresses}


async def open_store(
    settings: Settings, stack: contextlib.AsyncExitStack, *, on_open: Callable[[Client], None] | None = None
) -> Heartbeat:
    """The store, brought up to date, or looked for until it answers."""
    heartbeat = Heartbeat(settings, on_open=on_open)
    # One handle stays open from here to the end, so that the embedded engine is not closed and opened in between.
    stack.callback(heartbeat.close)
    await heartbeat.start()
    return heartbeat


async def start_collectors(
    settings: Settings,
    stack: contextlib.AsyncExitStack,
    heartbeat: Heartbeat,
    http_socket: socket.socket,
    grpc_port: int,
    scheduler: Scheduler | None = None,
) -> int:
    """Take OTLP over both transports until the stack is left; returns the gRPC port. Jobs can be asked for beside it."""
    section = settings.collectors
    pipeline = Pipeline(settings)
    stack.push_async_callback(asyncio.to_thread, _close_pipeline, pipeline)
    await asyncio.to_thread(pipeline.start)
    tls = read_tls(section)
    tokens = [token.get_secret_value() for token in section.tokens]
    await stack.enter_async_context(heartbeat.beating())

    async def trouble() -> str | None:
        """Why new spans would not become rows, in words."""
        return pipeline.trouble() or heartbeat.trouble

    app = make_app(
        pipeline,
        max_message_bytes=section.max_message_bytes,
        tokens=tokens,
        ready=trouble,
        body_timeout_s=section.request_timeout_s,
        cors_origins=section.cors_origins,
        api=ApiSettings.from_settings(section),
        more_routes=[
            *dataset_routes(settings),
            *notify_routes(settings, tokens),
            *alert_routes(settings, tokens),
            *([] if scheduler is None else [run_route(scheduler, tokens)]),
        ],
        more_metrics=str if scheduler is None else scheduler.counters.render,
    )
    limits = Limits(
        connections=section.max_connections,
        headers_s=section.request_timeout_s,
        on_closed=pipeline.closed_connections.count,
    )
    await stack.enter_async_context(
        http_server(app, http_socket, limits=limits, tls=None if tls is None else (section.tls_cert, section.tls_key))
    )
    server, port = make_server(
        pipeline,
        host=section.host,
        port=grpc_port,
        max_message_bytes=section.max_message_bytes,
        tokens=tokens,
        tls=tls,
        max_connections=section.max_connections,
        request_timeout_s=section.request_timeout_s,
    )
    await stack.enter_async_context(_grpc_server(server))
    start_gpu_collector(settings, stack, pipeline)
    return port


def start_back_fill(settings: Settings, stack: contextlib.AsyncExitStack) -> None:
    """Carry history into the facts beside all else; it stops after a chunk, and goes on at the next start."""
    stop = threading.Event()

    def work() -> None:
        try:
            back_fill_store(
                settings,
                stop=stop,
                on_progress=lambda step: logger.info(
                    "history of %s in %s: %d rows (%d of %d)", step.chunk, step.target, step.rows, step.done, step.total
                ),
            )
        except MonitorError as error:
            logger.warning("history is not carried into the facts: %s; `monitor migrate` goes on with it", error)

    async def end(task: asyncio.Task[None]) -> None:
        stop.set()
        await task

    stack.push_async_callback(end, asyncio.create_task(asyncio.to_thread(work)))


def embedded_endpoint(settings: Settings) -> ASGIApp:
    section = settings.store
    limits = QueryLimits(
        max_execution_time_s=section.query_timeout_s, max_memory_bytes=section.query_memory_mib * 1024 * 1024
    )
    return build_app(
        settings.store_url,
        limits=limits,
        user=section.clickhouse_user or None,
        password=section.clickhouse_password.get_secret_value() or None,
    )


def _close_pipeline(pipeline: Pipeline) -> None:
    if not pipeline.close():
        logger.warning(
            "%d items are not in ClickHouse yet; they stay in the write-ahead log for the next start", pipeline.waiting
        )


@contextlib.asynccontextmanager
async def _grpc_server(server: grpc.aio.Server) -> AsyncIterator[None]:
    await server.start()
    try:
        yield
    finally:
        await server.stop(GRPC_GRACE_S)
