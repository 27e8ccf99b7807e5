"""A local server that speaks OpenAI's HTTP protocol: chat, completions and responses, streamed or not, and embeddings.

What it answers is a function of the request, so tests can say exactly what must be counted:

- one token is one item of `Stub.answer`; the prompt has as many tokens as words;
- the model that answers is the model asked for with `-2026-08-01` behind it, as OpenAI dates them;
- usage of a stream is sent only if the request asks for it (`stream_options.include_usage`);
- what fails, fails by the name of the model that is asked for.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DATE = "-2026-08-01"
DIMENSIONS = 4
ERRORS = {
    400: ("invalid_request_error", "context_length_exceeded"),
    401: ("invalid_request_error", "invalid_api_key"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    500: ("server_error", None),
}


@dataclass
class Stub:
    """How the server answers; may be changed at any time.

    Attributes
    ----------
    first_token_s, between_tokens_s : float
        Time before the first token, and between two.
    failures : mapping of model to list of int
        Statuses that the next requests for this model get, one each, before it works again.
    cut_after : mapping of model to int
        How many tokens of a stream are sent before the connection breaks.
    finish_reason : str
        Of every choice.
    cached_tokens, reasoning_tokens : int
        Parts of the input and the output, as usage tells them.
    reply : callable, optional
        Text of a chat completion as a function of the request, instead of `answer`.
    seen, headers : list
        Path and body of every request; its headers.
    """

    base_url: str
    answer: tuple[str, ...] = ("Die", " Antwort", " ist", " zwei", "und", "vierzig", " 🚀")
    first_token_s: float = 0.0
    between_tokens_s: float = 0.0
    failures: dict[str, list[int]] = field(default_factory=dict)
    cut_after: dict[str, int] = field(default_factory=dict)
    finish_reason: str = "stop"
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    reply: Callable[[dict[str, Any]], str] | None = None
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def prompt_tokens(self, body: dict[str, Any]) -> int:
        if "messages" in body:
            return sum(len(str(message["content"]).split()) for message in body["messages"])
        return len(str(body.get("prompt", body.get("input"))).split())

    def usage(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = self.prompt_tokens(body)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": len(self.answer),
            "total_tokens": prompt + len(self.answer),
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
        }


@contextlib.contextmanager
def running() -> Iterator[Stub]:
    """The server on a free port, until the end of the block."""

    class Handler(_Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.stub = Stub(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Handler.stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    stub: Stub

    def handle(self) -> None:
        # Clients of these tests leave as they like, and there is nobody to tell.
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.stub.seen.append((self.path, body))
        self.stub.headers.append({name.lower(): value for name, value in self.headers.items()})
        failures = self.stub.failures.get(body["model"])
        if failures:
            self.fail(failures.pop(0))
        elif self.path == "/v1/chat/completions":
            self.chat(body)
        elif self.path == "/v1/completions":
            self.complete(body)
        elif self.path == "/v1/responses":
            self.respond(body)
        elif self.path == "/v1/embeddings":
            self.embed(body)
        else:
            self.fail(404)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def fail(self, status: int) -> None:
        kind, code = ERRORS.get(status, ("invalid_request_error", None))
        error = {"message": f"the stub was told to answer {status}", "type": kind, "param": None, "code": code}
        # The client tries again after so long, if it may.
        self.reply({"error": error}, status, {"retry-after-ms": "5"})

    def reply(self, document: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        given = {"content-type": "application/json", "content-length": str(len(content)), **(headers or {})}
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def chat(self, body: dict[str, Any]) -> None:
        stub = self.stub
        common = {
            "id": f"chatcmpl-{next(stub.numbers)}",
            "created": int(time.time()),
            "model": body["model"] + DATE,
            "system_fingerprint": "fp_stub",
        }
        if body.get("stream"):
            self.stream(body, {**common, "object": "chat.completion.chunk"})
            return
        time.sleep(stub.first_token_s + stub.between_tokens_s * (len(stub.answer) - 1))
        text = "".join(stub.answer) if stub.reply is None else stub.reply(body)
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": stub.finish_reason}
        self.reply({**common, "object": "chat.completion", "choices": [choice], "usage": stub.usage(body)})

    def complete(self, body: dict[str, Any]) -> None:
        stub = self.stub
        common = {
            "id": f"cmpl-{next(stub.numbers)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": body["model"] + DATE,
        }
        if not body.get("stream"):
            choice = {"index": 0, "text": "".join(stub.answer), "logprobs": None, "finish_reason": stub.finish_reason}
            self.reply({**common, "choices": [choice], "usage": stub.usage(body)})
            return
        self.begin_events()
        for number, text in enumerate(stub.answer):
            reason = stub.finish_reason if number == len(stub.answer) - 1 else None
            choices = [{"index": 0, "text": text, "logprobs": None, "finish_reason": reason}]
            self.event(json.dumps({**common, "choices": choices}))
        if (body.get("stream_options") or {}).get("include_usage"):
            self.event(json.dumps({**common, "choices": [], "usage": stub.usage(body)}))
        self.end_events()

    def respond(self, body: dict[str, Any]) -> None:
        stub = self.stub
        part = {"type": "output_text", "text": "".join(stub.answer), "annotations": []}
        message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
        prompt = stub.prompt_tokens(body)
        cut = stub.finish_reason == "length"
        common = {
            "id": f"resp_{next(stub.numbers)}",
            "object": "response",
            "created_at": int(time.time()),
            "model": body["model"] + DATE,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }
        whole = {
            **common,
            "status": "incomplete" if cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [message],
            "usage": {
                "input_tokens": prompt,
                "output_tokens": len(stub.answer),
                "total_tokens": prompt + len(stub.answer),
                "input_tokens_details": {"cached_tokens": stub.cached_tokens},
                "output_tokens_details": {"reasoning_tokens": stub.reasoning_tokens},
            },
        }
        if not body.get("stream"):
            self.reply(whole)
            return
        self.begin_events()
        numbers = itertools.count()

        def send(kind: str, **fields: Any) -> None:
            self.event(json.dumps({"type": kind, "sequence_number": next(numbers), **fields}), kind)

        begun = {**common, "status": "in_progress", "output": []}
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        send("response.created", response=begun)
        send("response.output_item.added", output_index=0, item={**message, "status": "in_progress", "content": []})
        send("response.content_part.added", **place, part={**part, "text": ""})
        for number, text in enumerate(stub.answer):
            if number == stub.cut_after.get(body["model"]):
                self.close_connection = True
                return
            send("response.output_text.delta", **place, delta=text, logprobs=[])
        send("response.output_text.done", **place, text=part["text"], logprobs=[])
        send("response.output_item.done", output_index=0, item=message)
        send("response.incomplete" if cut else "response.completed", response=whole)
        self.end_events(done=False)

    def begin_events(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def end_events(self, *, done: bool = True) -> None:
        if done:
            self.event("[DONE]")
        if not self.close_connection:
            self.wfile.write(b"0\r\n\r\n")

    def stream(self, body: dict[str, Any], common: dict[str, Any]) -> None:
        stub = self.stub
        told = bool((body.get("stream_options") or {}).get("include_usage"))
        self.begin_events()

        def send(choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> None:
            self.event(json.dumps({**common, "choices": choices, **({"usage": usage} if told else {})}))

        time.sleep(stub.first_token_s)
        for number, text in enumerate(stub.answer):
            if number == stub.cut_after.get(body["model"]):
                # Without the last chunk, which tells a reader that the answer is whole.
                self.close_connection = True
                return
            if number:
                time.sleep(stub.between_tokens_s)
            delta = {"content": text} if number else {"role": "assistant", "content": text, "refusal": None}
            send([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}])
        send([{"index": 0, "delta": {}, "logprobs": None, "finish_reason": stub.finish_reason}])
        if told:
            send([], stub.usage(body))
        self.end_events()

    def event(self, data: str, kind: str = "") -> None:
        content = f"event: {kind}\ndata: {data}\n\n".encode() if kind else f"data: {data}\n\n".encode()
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        except ConnectionError:  # the client has heard enough
            self.close_connection = True

    def embed(self, body: dict[str, Any]) -> None:
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        time.sleep(self.stub.first_token_s)
        vector = [0.5] * DIMENSIONS
        as_text = base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *vector)).decode()
        given: Any = as_text if body.get("encoding_format") == "base64" else vector
        data = [{"object": "embedding", "index": index, "embedding": given} for index in range(len(texts))]
        tokens = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        self.reply({"object": "list", "data": data, "model": body["model"] + DATE, "usage": usage})
