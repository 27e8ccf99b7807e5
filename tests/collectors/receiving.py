"""Receivers on free ports over a real pipeline, in an event loop of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx2
from google.protobuf.message import Message

from collectors.otlp.api import ApiSettings
from collectors.otlp.grpc_receiver import make_server
from collectors.otlp.http_receiver import make_app
from collectors.otlp.signals import Signal
from collectors.pipeline import Pipeline
from collectors.stats import Snapshot
from monitor.serve.http import Limits, http_server
from monitor.serve.ports import bind, port_of
from monitor.settings import PrivacySettings, load_settings
from tests.collectors.json_form import otlp_json

HTTP = httpx2.Client(timeout=20)


@dataclass(frozen=True)
class Receiving:
    """Where to send, and what became of it."""

    grpc: str
    http: str
    pipeline: Pipeline

    def snapshot(self, signal: str = "traces") -> Snapshot:
        """The numbers of one signal."""
        return self.pipeline.lanes[signal].stats.snapshot()


@contextlib.contextmanager
def receiving(
    data: Path,
    url: str,
    *,
    tokens: tuple[str, ...] = (),
    inserter: Any = None,
    privacy: Mapping[str, Any] | None = None,
    **limits: Any,
) -> Iterator[Receiving]:
    """Both receivers over one pipeline into the store at `url`."""
    settings = load_settings(None, data, **{"segment_age_s": 0.05, **limits})
    sections = {"store": settings.store.model_copy(update={"url": url}), "privacy": PrivacySettings(**(privacy or {}))}
    settings = settings.model_copy(update=sections)
    pipeline = Pipeline(settings, open_inserter=None if inserter is None else lambda _: inserter())
    pipeline.start()
    started, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    found: list[Receiving] = []

    async def ready() -> str | None:
        return pipeline.trouble()

    async def serve() -> None:
        size = settings.collectors.max_message_bytes
        sock = bind("127.0.0.1", 0, "a test", "--http-port")
        section = settings.collectors
        app = make_app(
            pipeline,
            max_message_bytes=size,
            tokens=tokens,
            ready=ready,
            body_timeout_s=section.request_timeout_s,
            cors_origins=section.cors_origins,
            api=ApiSettings.from_settings(section),
        )
        limits = Limits(
            connections=section.max_connections,
            headers_s=section.request_timeout_s,
            on_closed=pipeline.closed_connections.count,
        )
        async with http_server(app, sock, limits=limits):
            server, port = make_server(
                pipeline,
                host="127.0.0.1",
                port=0,
                max_message_bytes=size,
                tokens=tokens,
                max_connections=section.max_connections,
                request_timeout_s=section.request_timeout_s,
            )
            await server.start()
            found.append(Receiving(f"127.0.0.1:{port}", f"http://127.0.0.1:{port_of(sock)}", pipeline))
            started.set()
            await stop.wait()
            await server.stop(1)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(20), "the receivers did not start"
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
        # A store that is away will not take the rest however long one waits.
        pipeline.close(timeout_s=20 if inserter is None else 0.2)


def send(target: Receiving, signal: Signal, message: Message, transport: str) -> bytes:
    """The answer, after it was one of success."""
    if transport == "grpc":
        with grpc.insecure_channel(target.grpc) as channel:
            answer: bytes = channel.unary_unary(f"/{signal.service}/Export")(message.SerializeToString(), timeout=20)
            return answer
    as_json = transport == "json"
    kind = "application/json" if as_json else "application/x-protobuf"
    content = json.dumps(otlp_json(message)).encode() if as_json else message.SerializeToString()
    response = HTTP.post(f"{target.http}{signal.path}", content=content, headers={"content-type": kind})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == kind
    return bytes(response.content)


def wait_stored(target: Receiving, signal: Signal) -> Snapshot:
    deadline = time.monotonic() + 30
    while target.snapshot(signal.name).waiting:
        assert time.monotonic() < deadline, target.pipeline.trouble()
        time.sleep(0.01)
    return target.snapshot(signal.name)
