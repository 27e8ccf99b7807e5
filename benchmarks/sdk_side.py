"""One side of `benchmarks.sdk_others`: makes calls of the `openai` package, watched by one library or by none.

Runs in an environment that may hold nothing of ours, so it stands alone. Reads a kind of call and a number a line, makes so
many calls, and answers with their CPU time. What answers is a stub in place of the client's `request` method: no network,
no HTTP, the same objects each time, so that next to nothing is left but the watching.

    python sdk_side.py {bare,monitor,openllmetry,openlit}
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import openai
from openai.types.chat import ChatCompletion, ChatCompletionChunk

CHUNKS = 20
USAGE = {"prompt_tokens": 312, "completion_tokens": CHUNKS, "total_tokens": 312 + CHUNKS}
MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant. " * 8},
    {"role": "user", "content": "Why is the sky blue? " * 20},
]
HEAD = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "llama-3.1-8b"}


def answer():
    message = {"role": "assistant", "content": "word " * CHUNKS}
    choice = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": None}
    return ChatCompletion.model_validate({**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE})


def chunks():
    def chunk(delta, reason=None):
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return ChatCompletionChunk.model_validate({**HEAD, "object": "chat.completion.chunk", "choices": [choice]})

    last = {**HEAD, "object": "chat.completion.chunk", "choices": [], "usage": USAGE}
    first = chunk({"role": "assistant", "content": ""})
    words = [chunk({"content": "word "}) for _ in range(CHUNKS)]
    return [first, *words, chunk({}, "stop"), ChatCompletionChunk.model_validate(last)]


class Headers(dict):
    """Of a response that never was."""


class Response:
    headers = Headers({"content-type": "text/event-stream"})
    status_code = 200

    def close(self):
        pass


class Stubbed(openai.Stream):
    """A stream of chunks that are there already."""

    def __init__(self, items):
        self.response = Response()
        self._iterator = iter(items)

    def close(self):
        pass


def stub():
    whole, parts = answer(), chunks()

    def request(self, cast_to, options, *, stream=False, stream_cls=None):
        return Stubbed(parts) if stream else whole

    openai.OpenAI.request = request


class Encoder:
    """Does all that an OTLP exporter does except for the network."""

    def __init__(self):
        self.spans = self.attributes = 0

    def export(self, spans):
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
        from opentelemetry.sdk.trace.export import SpanExportResult

        encode_spans(spans).SerializeToString()
        self.spans += len(spans)
        self.attributes = len(spans[-1].attributes or {})
        return SpanExportResult.SUCCESS

    def shutdown(self):
        pass

    def force_flush(self, timeout_millis=30000):
        return True


def watched_by(side, encoder):
    """Set the library up as its documentation says, without content; return what flushes."""
    if side == "bare":
        return lambda: None
    if side == "monitor":
        import monitor

        monitor.init("bench", exporter=encoder, queue_size=100_000)
        monitor.instrument_openai()
        return monitor.flush
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "bench"}))
    provider.add_span_processor(BatchSpanProcessor(encoder, max_queue_size=100_000, schedule_delay_millis=1000))
    trace.set_tracer_provider(provider)
    if side == "openllmetry":
        os.environ["TRACELOOP_TRACE_CONTENT"] = "false"
        from opentelemetry.instrumentation.openai import OpenAIInstrumentor

        OpenAIInstrumentor().instrument()
    else:
        import openlit

        # No metrics and no log events, which the others do not send either; prices from a file, not from the network.
        with tempfile.TemporaryDirectory() as folder:
            prices = Path(folder) / "prices.json"
            prices.write_text("{}")
            openlit.init(
                capture_message_content=False, disable_metrics=True, disable_events=True, pricing_json=str(prices),
                service_name="bench",
            )  # fmt: skip
    return provider.force_flush


def versions():
    found = {}
    for name in ("openai", "opentelemetry-sdk", "opentelemetry-instrumentation-openai", "openlit"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def main():
    side = sys.argv[1]
    stub()
    encoder = Encoder()
    flush = watched_by(side, encoder)
    client = openai.OpenAI(api_key="none", base_url="http://127.0.0.1:1/v1")
    create = client.chat.completions.create

    def chat():
        create(model="llama-3.1-8b", messages=MESSAGES, temperature=0.2, max_tokens=64)

    def stream():
        options = {"include_usage": True}
        for _ in create(model="llama-3.1-8b", messages=MESSAGES, stream=True, stream_options=options):
            pass

    print(json.dumps(versions()), flush=True)
    for line in sys.stdin:
        kind, count = line.split()
        call = {"chat": chat, "stream": stream}[kind]
        gc.collect()
        before = encoder.spans
        total_ns, caller_ns = time.process_time_ns(), time.thread_time_ns()
        for _ in range(int(count)):
            call()
        caller_ns = time.thread_time_ns() - caller_ns
        flush()
        total_ns = time.process_time_ns() - total_ns
        print(
            json.dumps(
                {
                    "caller_us": caller_ns / int(count) / 1e3,
                    "total_us": total_ns / int(count) / 1e3,
                    "spans": encoder.spans - before,
                    "attributes": encoder.attributes,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
