"""`OTEL_*` variables of all kinds, and processes that end the way servers' workers do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

ONE = """
from monitor import sdk
sdk.init("svc")
with sdk.inference("m"):
    pass
print(sdk.flush())
"""


def test_endpoint_and_headers_of_the_environment(collector: Any, python: Callable[..., str], free_port: int) -> None:
    out = python(
        ONE,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port}",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector.endpoint,
        OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20t,x-team=a",
        OTEL_EXPORTER_OTLP_TRACES_COMPRESSION="gzip",
        OTEL_METRICS_EXPORTER="none",
    )
    assert out == "True\n"
    assert len(collector.spans()) == 1
    assert collector.metadata[0]["authorization"] == "Bearer t"
    assert collector.metadata[0]["x-team"] == "a"


def test_how_long_a_try_may_take_is_read_from_the_environment(python: Callable[..., str], free_port: int) -> None:
    script = """
import time
from monitor import sdk
sdk.init("svc", exit_timeout_s=30)
with sdk.inference("m"):
    pass
start = time.monotonic()
sdk.flush(30)
print(time.monotonic() - start)
"""
    out = python(
        script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port}", OTEL_EXPORTER_OTLP_TIMEOUT="1",
        OTEL_METRICS_EXPORTER="none",
    )  # fmt: skip
    # Ten seconds if it was not.
    assert float(out.splitlines()[0]) < 7


# The same span by the short way, and by opentelemetry-sdk because somebody else listens too.
LIMITS = """
import json, sys
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from monitor import sdk
ours = InMemorySpanExporter()
sdk.init("svc", exporter=ours)
def one():
    with sdk.inference("m", attributes={"text": "x" * 50, "texts": ["y" * 50]}):
        span = trace.get_current_span()
        for number in range(9):
            span.add_event(f"e{number}", {f"k{n}": "z" * 50 for n in range(9)})
            span.add_link(span.get_span_context(), {f"k{n}": "z" * 50 for n in range(9)})
    return type(span).__name__
kinds = [one()]
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
kinds.append(one())
sdk.flush()
def told(span):
    return [{k: v for k, v in span.attributes.items() if k in ("text", "texts")},
            [[e.name, dict(e.attributes), e.dropped_attributes] for e in span.events],
            [[dict(link.attributes), link.dropped_attributes] for link in span.links],
            span.dropped_events, span.dropped_links, span.dropped_attributes]
print(json.dumps([kinds, *map(told, ours.get_finished_spans())]))
"""


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "3"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "3"),
        ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "3"),
        ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "3"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "7"),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "7"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "20"),
    ],
)
def test_limits_hold_for_the_short_way_as_for_the_long_one(
    variable: str, value: str, python: Callable[..., str]
) -> None:
    kinds, short, long = json.loads(python(LIMITS, only_out=True, **{variable: value}))
    assert kinds[0] == "CallSpan" != kinds[1]
    assert short == long
    unlimited = json.loads(python(LIMITS, only_out=True))[1]
    assert (short != unlimited) is (variable != "OTEL_ATTRIBUTE_COUNT_LIMIT")


def test_ids_by_a_generator_that_is_not_there(python: Callable[..., str]) -> None:
    out = python(ONE, OTEL_PYTHON_ID_GENERATOR="nowhere", OTEL_TRACES_EXPORTER="none")
    assert "OTEL_PYTHON_ID_GENERATOR='nowhere' is not installed" in out


# What gunicorn does with an application that was loaded before its workers are forked: each is told to leave by a signal,
# whose handler raises SystemExit, in the midst of a request or not.
WORKERS = """
import os, signal, sys, time
from monitor import sdk
sdk.init("svc", endpoint=sys.argv[1], interval_s=60)
with sdk.inference("loaded"):
    pass
ready, told = os.pipe()
pids = []
for number in range(2):
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with sdk.inference(f"done {number}") as call:
            call.finish(output_tokens=1)
        with sdk.inference(f"under way {number}") as call:
            for token in call.stream(iter(range(10**9))):
                if token == 2:
                    os.write(told, b"1")
                    time.sleep(30)
        os._exit(9)
    pids.append(pid)
for _ in pids:
    assert os.read(ready, 1)
for pid in pids:
    os.kill(pid, signal.SIGTERM)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids])
"""


def test_workers_that_are_told_to_leave_send_what_they_have(collector: Any, python: Callable[..., str]) -> None:
    assert python(WORKERS, collector.endpoint) == "[0, 0]\n"
    found = {
        span.name.removeprefix("chat "): (resource, attributes) for resource, span, attributes in collector.spans()
    }
    assert set(found) == {"loaded", "done 0", "done 1", "under way 0", "under way 1"}
    assert len(collector.spans()) == 5, "each once"
    for number in range(2):
        done, under_way = found[f"done {number}"], found[f"under way {number}"]
        assert under_way[1]["monitor.cancelled"] is True
        assert under_way[1]["gen_ai.usage.output_tokens"] == 3
        assert [done[1]["monitor.seq"], under_way[1]["monitor.seq"]] == [1, 2]
        assert done[0]["monitor.emitter"] == under_way[0]["monitor.emitter"]
    assert len({resource["monitor.emitter"] for resource, _ in found.values()}) == 3
