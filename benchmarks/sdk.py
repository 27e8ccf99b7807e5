"""What one inference span costs the serving code: our SDK against bare opentelemetry-sdk, in one run.

Both make the same span with the same 20 attributes, through a queue and a worker thread that encodes it to
OTLP. The bare side sets the attributes one by one with `set_attribute`, as instrumentations do. The rounds
alternate, and the quotient is taken within each pair of rounds, so that a slow minute of the machine hits
both.

    python benchmarks/sdk.py [--spans 2000] [--rounds 15]

Caller: CPU time of the thread that makes the calls. Total: CPU time of the process until all spans are
encoded.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind

from monitor import sdk, semconv

CALLER_BAR = 0.6
TOTAL_BAR = 1.0
ATTRIBUTES = 20


class Encoder(SpanExporter):
    """Does all that an OTLP exporter does except for the network, which would only add noise to both."""

    def __init__(self) -> None:
        self.spans = 0
        self.attributes: set[str] = set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Encode and throw away."""
        encode_spans(spans).SerializeToString()
        self.spans += len(spans)
        self.attributes = set(spans[-1].attributes or {})
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Microseconds of CPU for one span."""

    caller_us: float
    total_us: float


def measure(make_span: Callable[[], None], flush: Callable[[], object], spans: int) -> Cost:
    """Make spans, wait until all are encoded, and divide."""
    gc.collect()
    total_ns, caller_ns = time.process_time_ns(), time.thread_time_ns()
    for _ in range(spans):
        make_span()
    caller_ns = time.thread_time_ns() - caller_ns
    flush()
    total_ns = time.process_time_ns() - total_ns
    return Cost(caller_us=caller_ns / spans / 1e3, total_us=total_ns / spans / 1e3)


def bare(encoder: Encoder, spans: int) -> tuple[Callable[[], None], Callable[[], object]]:
    """opentelemetry-sdk, with the attributes set one by one."""
    provider = TracerProvider(resource=Resource.create({"service.name": "bench"}))
    provider.add_span_processor(BatchSpanProcessor(encoder, max_queue_size=spans * 2, schedule_delay_millis=1000))
    tracer = provider.get_tracer("bench")

    def make_span() -> None:
        start = time.perf_counter_ns()
        with tracer.start_as_current_span("chat llama-3.1-8b", kind=SpanKind.CLIENT) as span:
            first = time.perf_counter_ns()
            span.set_attribute(semconv.OPERATION, "chat")
            span.set_attribute(semconv.PROVIDER, "openai")
            span.set_attribute(semconv.REQUEST_MODEL, "llama-3.1-8b")
            span.set_attribute(semconv.RESPONSE_MODEL, "llama-3.1-8b")
            span.set_attribute(semconv.USER_ID, "u1")
            span.set_attribute(semconv.CONVERSATION_ID, "s1")
            span.set_attribute(semconv.SESSION_ID, "s1")
            span.set_attribute(semconv.STREAM, True)
            span.set_attribute(semconv.VARIANT, "fp8")
            span.set_attribute(semconv.SERVICE_VERSION, "1.2.3")
            span.set_attribute(semconv.COHORT_PREFIX + "language", "de")
            span.set_attribute(semconv.INPUT_TOKENS, 312)
            span.set_attribute(semconv.OUTPUT_TOKENS, 128)
            span.set_attribute(semconv.CACHED_TOKENS, 64)
            span.set_attribute(semconv.FINISH_REASONS, ("stop",))
            span.set_attribute(semconv.QUEUE_TIME, 0.01)
            span.set_attribute(semconv.PREFILL_TIME, 0.05)
            span.set_attribute(semconv.DECODE_TIME, 0.9)
            span.set_attribute(semconv.TTFT, (first - start) / 1e9)
            # The twentieth is the number that our side adds for completeness.
            span.set_attribute(semconv.SEQ, 1)

    return make_span, provider.force_flush


def ours(encoder: Encoder, spans: int) -> tuple[Callable[[], None], Callable[[], object]]:
    """The same span by the SDK."""
    sdk.init("bench", exporter=encoder, queue_size=spans * 2)

    def make_span() -> None:
        with sdk.inference(
            "llama-3.1-8b",
            provider="openai",
            user="u1",
            session="s1",
            stream=True,
            variant="fp8",
            release="1.2.3",
            cohorts={"language": "de"},
        ) as call:
            call.first_token()
            call.finish(
                input_tokens=312,
                output_tokens=128,
                cached_tokens=64,
                finish_reason="stop",
                queue_s=0.01,
                prefill_s=0.05,
                decode_s=0.9,
                response_model="llama-3.1-8b",
            )

    return make_span, sdk.flush


def main() -> None:
    """Run and print; exit code 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description="CPU cost of one inference span against bare opentelemetry-sdk.")
    parser.add_argument("--spans", type=int, default=2000, help="spans in a round")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each side")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()

    encoders = Encoder(), Encoder()
    sides = bare(encoders[0], options.spans), ours(encoders[1], options.spans)
    for make_span, flush in sides:
        measure(make_span, flush, options.spans // 2)  # warm up
    if not encoders[0].attributes == encoders[1].attributes or len(encoders[0].attributes) != ATTRIBUTES:
        raise SystemExit(f"unfair: {encoders[0].attributes ^ encoders[1].attributes} on one side only")
    pairs: list[tuple[Cost, Cost]] = []
    for _ in range(options.rounds):
        first, second = (measure(make_span, flush, options.spans) for make_span, flush in sides)
        pairs.append((first, second))
    lost = sdk.stats().dropped + sdk.stats().failed
    sdk.shutdown()

    result = {
        "spans": options.spans * options.rounds,
        "attributes": ATTRIBUTES,
        "bare_caller_us": statistics.median(a.caller_us for a, _ in pairs),
        "ours_caller_us": statistics.median(b.caller_us for _, b in pairs),
        "caller_ratio": statistics.median(b.caller_us / a.caller_us for a, b in pairs),
        "bare_total_us": statistics.median(a.total_us for a, _ in pairs),
        "ours_total_us": statistics.median(b.total_us for _, b in pairs),
        "total_ratio": statistics.median(b.total_us / a.total_us for a, b in pairs),
        "lost": lost,
    }
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{'CPU, µs a span':16}{'bare':>8}{'ours':>8}{'ratio':>8}{'bar':>6}")
        for part, bar in (("caller", CALLER_BAR), ("total", TOTAL_BAR)):
            figures = (result[f"bare_{part}_us"], result[f"ours_{part}_us"], result[f"{part}_ratio"], bar)
            print(f"{part:16}{figures[0]:8.1f}{figures[1]:8.1f}{figures[2]:8.2f}{figures[3]:6.1f}")
    if lost or result["caller_ratio"] > CALLER_BAR or result["total_ratio"] > TOTAL_BAR:
        raise SystemExit("a bar was missed")


if __name__ == "__main__":
    main()
