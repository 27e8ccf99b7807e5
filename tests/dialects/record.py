"""Record what real emitters send: `python -m tests.dialects.record [EMITTER …]`.

For each emitter this makes a throw-away virtual environment (or npm folder), installs the real package from PyPI (or
npm), runs its script of `emit/` against a small local server that answers as OpenAI's API does and takes OTLP/HTTP
requests as a collector does, and saves the requests as `recorded/<emitter>-<version>.otlp`: each a varint length and an
`ExportTraceServiceRequest`, as they came, but for gzip and for the names of this machine.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

HERE: Final = Path(__file__).parent
RECORDED: Final = HERE / "recorded"
OTEL: Final = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")

# What the model says. The tests look for these texts, and for these counts.
QUESTION: Final = "PRIVATE-QUESTION: how deep is the sea?"
ANSWER: Final = ("PRIVATE-ANSWER:", " quite", " deep.")
USAGE: Final = {
    "prompt_tokens": 21,
    "completion_tokens": 7,
    "total_tokens": 28,
    "prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 0},
}
FIRST_TOKEN_S: Final = 0.03
NEXT_TOKEN_S: Final = 0.01


@dataclass(frozen=True, kw_only=True)
class Emitter:
    """`script` of `emit/` with these packages; the first one's version names the recording."""

    name: str
    packages: tuple[str, ...]
    script: str
    environment: tuple[tuple[str, str], ...] = ()


EMITTERS: Final = (
    Emitter(name="openllmetry", packages=("opentelemetry-instrumentation-openai", "openai", *OTEL), script="openllmetry.py"),
    Emitter(
        name="openllmetry-old",
        packages=("opentelemetry-instrumentation-openai==0.40.14", "openai<2", *OTEL),
        script="openllmetry.py",
    ),
    Emitter(
        name="openinference", packages=("openinference-instrumentation-openai", "openai", *OTEL), script="openinference.py"
    ),
    Emitter(name="langfuse", packages=("langfuse", "openai", *OTEL), script="langfuse_openai.py"),
    Emitter(
        name="langfuse-openllmetry",
        packages=("langfuse", "opentelemetry-instrumentation-openai", "openai", *OTEL),
        script="langfuse_openllmetry.py",
    ),
    Emitter(name="openlit", packages=("openlit", "openai", *OTEL), script="openlit_openai.py"),
    Emitter(name="mlflow", packages=("mlflow", "openai", *OTEL), script="mlflow_openai.py"),
    Emitter(name="pydantic-ai", packages=("pydantic-ai-slim[openai]", "logfire", *OTEL), script="pydantic_ai_agent.py"),
    Emitter(name="logfire", packages=("logfire", "openai", *OTEL), script="logfire_openai.py"),
    Emitter(name="litellm", packages=("litellm[proxy]", *OTEL), script="litellm_otel.py"),
    Emitter(
        name="litellm-v2",
        packages=("litellm[proxy]", *OTEL),
        script="litellm_otel.py",
        environment=(("LITELLM_OTEL_V2", "true"),),
    ),
    Emitter(name="litellm-proxy", packages=("litellm[proxy]", *OTEL), script="litellm_proxy.py"),
    Emitter(
        name="litellm-proxy-v2",
        packages=("litellm[proxy]", *OTEL),
        script="litellm_proxy.py",
        environment=(("LITELLM_OTEL_V2", "true"),),
    ),
    Emitter(
        name="opentelemetry",
        packages=("opentelemetry-instrumentation-openai-v2", "openai", "httpx", "opentelemetry-util-genai<=0.4b0", *OTEL),
        script="opentelemetry_openai.py",
        environment=(("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental"),),
    ),
    Emitter(
        name="vercel-7",
        packages=("ai@7", "@ai-sdk/otel", "@ai-sdk/openai-compatible", "@opentelemetry/sdk-node",
                  "@opentelemetry/exporter-trace-otlp-proto", "@opentelemetry/api"),
        script="vercel.mjs",
    ),
    Emitter(
        name="vercel-6",
        packages=("ai@6", "@ai-sdk/openai-compatible@2", "@opentelemetry/sdk-node",
                  "@opentelemetry/exporter-trace-otlp-proto", "@opentelemetry/api"),
        script="vercel.mjs",
    ),
)  # fmt: skip


class Server(ThreadingHTTPServer):
    """Answers as OpenAI's API does and keeps the bodies of OTLP trace requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self._answer_json({"project_name": "none", "project_url": "http://none"})  # what logfire asks for

    def do_POST(self) -> None:
        body = self._body()
        if self.path.endswith("/traces"):
            self.server.bodies.append(body)
            self._answer(b"", "application/x-protobuf")
        elif self.path.endswith("/chat/completions"):
            self._chat(json.loads(body))
        elif self.path.endswith("/embeddings"):
            usage = {"prompt_tokens": 4, "total_tokens": 4}
            data = [{"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}]
            self._answer_json({"object": "list", "model": "embed-1", "data": data, "usage": usage})
        else:
            self._answer(b"{}")

    def _chat(self, request: dict[str, Any]) -> None:
        if "fail" in request["model"]:
            error = {
                "message": "no such model",
                "type": "invalid_request_error",
                "param": None,
                "code": "model_not_found",
            }
            self._answer_json({"error": error}, status=404)
            return
        model = "gpt-4o-2024-08-06" if request["model"] == "gpt-4o" else "m-1-2026"
        base = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": model, "system_fingerprint": "fp"}
        if request.get("stream"):
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            for chunk in _chunks(base):
                self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
                self.wfile.flush()
            self.wfile.write(b"data: [DONE]\n\n")
            self.close_connection = True
            return
        message = {"role": "assistant", "content": "".join(ANSWER), "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        self._answer_json({**base, "object": "chat.completion", "choices": [choice], "usage": USAGE})

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
        return gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body

    def _answer_json(self, answer: dict[str, Any], status: int = 200) -> None:
        self._answer(json.dumps(answer).encode(), "application/json", status)

    def _answer(self, content: bytes, kind: str = "application/json", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def _chunks(base: dict[str, Any]) -> Iterator[dict[str, Any]]:
    chunk = {**base, "object": "chat.completion.chunk"}
    time.sleep(FIRST_TOKEN_S)
    for number, text in enumerate(ANSWER):
        delta = {"content": text, "role": "assistant"} if number == 0 else {"content": text}
        yield {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        time.sleep(NEXT_TOKEN_S)
    yield {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    yield {**chunk, "choices": [], "usage": USAGE}


def record(emitter: Emitter, work: Path) -> Path:
    """Install, run, save; returns the file."""
    folder = work / emitter.name
    command, version = (_npm if emitter.script.endswith(".mjs") else _pip)(emitter, folder)
    server = Server()
    environment = {
        **os.environ,
        "PYTHONPATH": "",
        "OPENAI_BASE_URL": f"{server.url}/v1",
        "OPENAI_API_KEY": "none",
        "OTEL_EXPORTER_OTLP_ENDPOINT": server.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_SERVICE_NAME": "recorded",
        "RECORD_URL": server.url,
        "RECORD_QUESTION": QUESTION,
        **dict(emitter.environment),
    }
    subprocess.run([*command, _copied(emitter, folder)], check=True, cwd=folder, env=environment, timeout=300)
    server.shutdown()
    for old in RECORDED.glob(f"{emitter.name}-[0-9]*.otlp"):
        old.unlink()
    path = RECORDED / f"{emitter.name}-{version}.otlp"
    path.write_bytes(
        b"".join(_length(len(body)) + body for body in (_scrubbed(body, folder) for body in server.bodies))
    )
    return path


def _pip(emitter: Emitter, folder: Path) -> tuple[list[str], str]:
    python = str(folder / "bin" / "python")
    if not Path(python).exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *emitter.packages], check=True)
    name = emitter.packages[0].partition("[")[0].partition("=")[0]
    ask = f"from importlib.metadata import version; print(version({name!r}))"
    version = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    return [python], version


def _npm(emitter: Emitter, folder: Path) -> tuple[list[str], str]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "init", "-y"], check=True, cwd=folder, capture_output=True)
    subprocess.run(["npm", "install", "--silent", "--no-audit", *emitter.packages], check=True, cwd=folder)
    manifest = json.loads((folder / "node_modules" / "ai" / "package.json").read_text())
    return ["node"], str(manifest["version"])


def _copied(emitter: Emitter, folder: Path) -> str:
    # Under a name that hides no package.
    script = folder / f"run_{emitter.script}"
    script.write_text((HERE / "emit" / emitter.script).read_text())
    return str(script)


def _scrubbed(body: bytes, folder: Path) -> bytes:
    """Without what names this machine or is long for nothing."""
    request = ExportTraceServiceRequest.FromString(body)
    for resource_spans in request.resource_spans:
        attributes = resource_spans.resource.attributes
        kept = [item for item in attributes if not item.key.startswith(("host.", "process.", "os."))]
        copies = [type(item).FromString(item.SerializeToString()) for item in kept]
        del attributes[:]
        attributes.extend(copies)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                for item in [*span.attributes, *(item for event in span.events for item in event.attributes)]:
                    if item.value.HasField("string_value"):
                        text = item.value.string_value.replace(str(folder), "")
                        cut = item.key.endswith(("stacktrace", "stack_trace"))
                        item.value.string_value = text[:100] if cut else text
    return request.SerializeToString()


def _length(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def main() -> None:
    wanted = sys.argv[1:] or [emitter.name for emitter in EMITTERS]
    RECORDED.mkdir(exist_ok=True)
    given = os.environ.get("RECORD_FOLDER")  # environments kept between runs
    with tempfile.TemporaryDirectory() as folder:
        for emitter in EMITTERS:
            if emitter.name in wanted:
                path = record(emitter, Path(given or folder))
                print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
