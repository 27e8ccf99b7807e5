"""The examples, run as a reader would run them, and what a real service has stored of them afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.tools.service import ROOT, Service, environment, running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("examples") / "data") as found:
        yield found


def env() -> dict[str, str]:
    # Scripts see their own folder and not the one they are called from.
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return environment({"PYTHONPATH": path})


def script(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "examples" / name), *arguments]


def run(name: str, *arguments: str) -> str:
    done = subprocess.run(script(name, *arguments), env=env(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def rows(service: Service, query: str) -> list[dict[str, Any]]:
    service.wait_until_stored()
    request = urllib.request.Request(service.addresses["clickhouse"], f"{query} FORMAT JSONEachRow".encode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        return [json.loads(line) for line in answer.read().decode().splitlines()]


@contextlib.contextmanager
def serving(service: Service) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    arguments = ("--endpoint", service.addresses["grpc"], "--port", str(port), "--pace", "0.3")
    process = subprocess.Popen(script("server.py", *arguments), env=env(), stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert said == ""


def test_quickstart(service: Service) -> None:
    said = run("quickstart.py", service.addresses["grpc"], "--calls", "30", "--pace", "0")
    assert "30 of 30 calls sent." in said
    found = rows(
        service,
        "SELECT count() AS n, uniqExact(seq) AS seqs, countIf(cancelled) AS cancelled, countIf(error_type != '') AS failed,"
        " countIf(isNull(ttft_s)) AS silent, countIf(ttft_s <= 0 OR ttft_s > duration_s) AS odd, sum(output_tokens) AS tokens"
        " FROM inferences FINAL WHERE service = 'quickstart'",
    )
    answers = said.splitlines()[:-1]
    words = sum(line.count("word") for line in answers)
    failed = sum("out of GPU memory" in line for line in answers)
    silent = sum("word0" not in line for line in answers)
    expected = {"n": 30, "seqs": 30, "cancelled": 1, "failed": failed, "silent": silent, "odd": 0, "tokens": words}
    assert found == [expected]


def test_client_and_server(service: Service) -> None:
    with serving(service) as base_url:
        said = run("openai_client.py", base_url, "--endpoint", service.addresses["grpc"])
        assert said.splitlines() == [
            "".join(f"word{number} " for number in range(8)),
            "".join(f"word{number} " for number in range(12)),
            "refused: 404",
            "6 of 6 calls sent.",
        ]
    columns = "model, stream, input_tokens, output_tokens, tokens_estimated, finish_reason, error_type, cancelled"
    sane = "isNull(ttft_s)::Bool AS without_ttft, ifNull(ttft_s > 0 AND ttft_s <= duration_s, true)::Bool AS sane"
    query = f"SELECT {columns}, {sane} FROM inferences FINAL WHERE service = '{{}}' ORDER BY timestamp"
    called = rows(service, query.format("chat-app"))
    served = rows(service, query.format("fake-engine"))
    model = {"model": "llama-3.1-8b", "error_type": "", "cancelled": False, "sane": True}
    whole = {
        **model, "stream": None, "input_tokens": 4, "output_tokens": 8, "tokens_estimated": False,
        "finish_reason": "length", "without_ttft": True,
    }  # fmt: skip
    streamed = {**whole, "stream": True, "input_tokens": 5, "output_tokens": 12, "without_ttft": False}
    guessed = {**streamed, "input_tokens": None, "output_tokens": 10, "tokens_estimated": True}
    for found in (called, served):
        assert found[:2] == [whole, streamed]
        jokes = sorted(found[2:5], key=lambda row: bool(row["cancelled"]))
        assert jokes[:2] == [guessed, guessed]
        left = jokes[2]
        assert (left["cancelled"], left["error_type"], left["finish_reason"]) == (True, "", "")
        assert 1 <= left["output_tokens"] < 300
        assert found[5]["model"] == "gpt-0"
        assert found[5]["output_tokens"] is None
        assert len(found) == 6
    assert called[5]["error_type"] == "openai.NotFoundError"
    assert served[5]["error_type"] == "model_not_found"
    # What only the handler knows: its queue, and the step in it.
    queued = rows(
        service,
        "SELECT countIf(queue_s > 0) AS told, any(node) AS node, any(variant) AS variant"
        " FROM inferences FINAL WHERE service = 'fake-engine'",
    )
    assert queued == [{"told": 5, "node": "gpu-1", "variant": "fp16"}]
    # Not always its child: FastAPI has spans of its own between the two.
    steps = rows(
        service,
        "SELECT count() AS n FROM otel_traces AS step INNER JOIN otel_traces AS call ON step.TraceId = call.TraceId"
        " WHERE step.SpanName = 'queue' AND call.ScopeName = 'monitor.sdk' AND call.SpanKind = 'Server'",
    )
    assert steps == [{"n": 5}]
