"""Real application servers that fork: gunicorn with the application loaded before its workers, uvicorn with workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.tools.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
CALLS = 24

APP = """
import os

import monitor

monitor.init(service="served", endpoint=os.environ["COLLECTOR"])
with monitor.inference(model="at-import"):
    pass


def answer():
    with monitor.inference(model="m", attributes={"pid": os.getpid()}) as call:
        for _ in call.stream(iter("abc")):
            pass
        call.finish(input_tokens=7, output_tokens=3, finish_reason="stop")
    return str(os.getpid()).encode()


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer()]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                monitor.shutdown()
                return
    body = answer()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})
"""
SERVERS = {
    "gunicorn": ["gunicorn", "served:wsgi", "--preload", "--workers", "2", "--bind", "127.0.0.1:{port}"],
    "uvicorn": ["uvicorn", "served:asgi", "--workers", "2", "--host", "127.0.0.1", "--port", "{port}"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "served.py").write_text(textwrap.dedent(APP), encoding="utf-8")
    return tmp_path


@pytest.fixture(params=list(SERVERS))
def served(
    request: pytest.FixtureRequest, folder: Path, collector: Any
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    command = [sys.executable, "-m", *(part.format(port=port) for part in SERVERS[request.param])]
    env = {**os.environ, "COLLECTOR": collector.endpoint, "PYTHONPATH": f"{ROOT}:{folder}"}
    env.pop("MONITOR_SDK_RAISE", None)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
    yield process, f"http://127.0.0.1:{port}/"
    if process.poll() is None:
        process.kill()
        process.wait()


def ask(address: str) -> str:
    # A connection each, so that both workers get some.
    return httpx2.get(address, timeout=10, headers={"connection": "close"}).text


def wait_until_up(process: subprocess.Popen[bytes], address: str, folder: Path) -> None:
    deadline = time.monotonic() + 90
    while True:
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, (folder / "log").read_text()
        try:
            ask(address)
            return
        except httpx2.TransportError:
            time.sleep(0.1)


def test_each_worker_sends_its_calls_once(
    served: tuple[subprocess.Popen[bytes], str], folder: Path, collector: Any
) -> None:
    process, address = served
    wait_until_up(process, address, folder)
    answered = Counter(ask(address) for _ in range(CALLS))
    # Until both workers have answered, as the kernel hands connections out as it likes.
    while len(answered) < 2:
        answered.update([ask(address)])
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    found = [attributes for _, _, attributes in collector.spans()]
    calls = [attributes for attributes in found if attributes.get("gen_ai.request.model") == "m"]
    sent = Counter(str(attributes["pid"]) for attributes in calls)
    assert sent.total() == answered.total() + 1  # and the one that said that it is up
    assert set(sent) == set(answered)
    assert all(sent[pid] >= count for pid, count in answered.items())
    assert all(attributes["gen_ai.usage.output_tokens"] == 3 for attributes in calls)
    numbers = Counter((attributes["pid"], attributes["monitor.seq"]) for attributes in calls)
    assert set(numbers.values()) == {1}, "each call has a number of its own"
