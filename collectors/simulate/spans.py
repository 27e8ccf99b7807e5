"""Builds OTLP trace requests out of calls, as bytes.

Each call becomes a trace. The inference span is the only model call in it; if the calls have parents, an HTTP
server span is the root, and a retrieval may come before the inference.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

import numpy as np
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status

from collectors.simulate.calls import Calls, Origin
from collectors.simulate.wire import (
    AttributeValue,
    attribute,
    double_attribute,
    field,
    int_attribute,
    key_values,
)
from collectors.simulate.workload import Floats, Ints
from monitor import semconv

SCOPE_NAME: Final = "inference-monitor.replay"
ROUTE: Final = "/v1/chat/completions"
DATA_SOURCE: Final = "replay-documents"

_TIMES = struct.Struct("<BQBQ").pack
# Fields of a span in trace.proto: start is 7 and end 8 (fixed64, wire type 1), attributes 9, status 15.
_START, _END, ATTRIBUTES, _STATUS = 7 << 3 | 1, 8 << 3 | 1, 9, 15


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One export request: its bytes, its spans and calls, and trace id + span id of each call."""

    body: bytes
    spans: int
    calls: int
    call_ids: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True)
class _Templates:
    """The part of spans and resource that is the same for all calls of one origin."""

    resource: bytes
    inference: bytes
    root: bytes
    retrieval: bytes


class Encoder:
    """Turns calls into requests. One encoder stands for one run of the emitting processes, one process an
    origin.

    Parameters
    ----------
    origins : sequence of Origin
        What `Calls.origin` points at.
    emitter : str
        Unique to this run; `monitor.emitter` is this with the origin's number. Inference spans are numbered
        1, 2, 3, … per emitter in the order they are encoded (`monitor.seq`), so that the receiver can tell
        what is missing.
    ids : numpy Generator
        Where trace and span ids come from.
    """

    def __init__(self, origins: Sequence[Origin], *, emitter: str, ids: np.random.Generator) -> None:
        self._origins = tuple(origins)
        self._emitter = emitter
        self._ids = ids
        self._seq = [0] * len(origins)
        self._templates: dict[tuple[int, bool, bool], _Templates] = {}

    def encode(self, calls: Calls, picked: Ints) -> Batch:
        """The request that holds the picked calls (indices), in that order."""
        by_origin: dict[int, list[bytes]] = {}
        call_ids = []
        random = self._ids.bytes(40 * len(picked))
        for position, row in enumerate(_rows(calls, picked)):
            origin = row[0]
            templates = self._template(origin, calls.simulated, calls.arrivals_simulated)
            self._seq[origin] += 1
            ids = random[40 * position : 40 * position + 40]
            out = by_origin.setdefault(origin, [])
            out.append(_trace(row, ids, templates, self._seq[origin]))
            call_ids.append(ids[:24])
        body = b"".join(self._resource_spans(calls, origin, spans) for origin, spans in by_origin.items())
        return Batch(body=body, spans=int(calls.spans[picked].sum()), calls=len(picked), call_ids=tuple(call_ids))

    def _resource_spans(self, calls: Calls, origin: int, spans: list[bytes]) -> bytes:
        templates = self._template(origin, calls.simulated, calls.arrivals_simulated)
        return field(1, templates.resource + field(2, _scope() + b"".join(spans)))

    def _template(self, origin: int, simulated: bool, arrivals_simulated: bool) -> _Templates:
        key = (origin, simulated, arrivals_simulated)
        if key not in self._templates:
            emitter = f"{self._emitter}-{origin + 1}"
            self._templates[key] = _make_templates(self._origins[origin], emitter, simulated, arrivals_simulated)
        return self._templates[key]


def _make_templates(origin: Origin, emitter: str, simulated: bool, arrivals_simulated: bool) -> _Templates:
    marks: dict[str, AttributeValue] = {}
    if simulated:
        marks[semconv.SIMULATED] = True
    if arrivals_simulated:
        marks[semconv.SIMULATED_ARRIVALS] = True
    # The spans around a call are always made up, also where the call itself was measured.
    around: dict[str, AttributeValue] = {**marks, semconv.SIMULATED: True}
    resource: dict[str, AttributeValue] = {
        semconv.SERVICE_NAME: origin.service,
        semconv.SERVICE_VERSION: origin.release,
        semconv.DEPLOYMENT_ENVIRONMENT: origin.environment,
        semconv.HOST_NAME: origin.node,
        semconv.CLOUD_REGION: origin.region,
        semconv.NODE: origin.node,
        semconv.DEPLOYMENT: origin.deployment,
        semconv.PRICING: origin.pricing,
        semconv.GPU: origin.gpu,
        semconv.VARIANT: origin.variant,
        semconv.EMITTER: emitter,
    }
    inference: dict[str, AttributeValue] = {
        semconv.OPERATION: "chat",
        semconv.PROVIDER: origin.provider,
        semconv.REQUEST_MODEL: origin.model,
        semconv.RESPONSE_MODEL: origin.model,
        semconv.STREAM: True,
        **marks,
    }
    root: dict[str, AttributeValue] = {"http.request.method": "POST", "http.route": ROUTE, **around}
    retrieval: dict[str, AttributeValue] = {
        semconv.OPERATION: "retrieval",
        "gen_ai.data_source.id": DATA_SOURCE,
        **around,
    }
    return _Templates(
        resource=field(1, Resource(attributes=key_values(resource)).SerializeToString()),
        inference=_span(f"chat {origin.model}", Span.SPAN_KIND_CLIENT, inference),
        root=_span(f"POST {ROUTE}", Span.SPAN_KIND_SERVER, root),
        retrieval=_span(f"retrieve {DATA_SOURCE}", Span.SPAN_KIND_CLIENT, retrieval),
    )


def _span(name: str, kind: Span.SpanKind.ValueType, attributes: dict[str, AttributeValue]) -> bytes:
    return bytes(Span(name=name, kind=kind, attributes=key_values(attributes)).SerializeToString())


@cache
def _scope() -> bytes:
    return bytes(ScopeSpans(scope=InstrumentationScope(name=SCOPE_NAME, version="1")).SerializeToString())


_Row = tuple[
    int,
    int,
    int,
    int,
    int,
    float,
    float,
    float,
    float,
    float,
    str,
    str,
    bool,
    str,
    str,
    tuple[int, int, int] | None,
    bytes,
]


def _rows(calls: Calls, picked: Ints) -> list[_Row]:
    """The picked calls as tuples of plain Python values; whole columns convert faster than single numbers."""
    numbers: list[Ints | Floats] = [
        calls.origin,
        calls.start_ns,
        calls.start_ns + calls.duration_ns,
        calls.input_tokens,
        calls.output_tokens,
        calls.ttft_s,
        calls.queue_s,
        calls.prefill_s,
        calls.decode_s,
        calls.largest_gap_s,
    ]
    texts = [calls.error, calls.finish, calls.cancelled, calls.user, calls.session]
    rows = picked.tolist()
    parents: list[tuple[int, int, int] | None] = [None] * len(rows)
    if (around := calls.parents) is not None:
        columns = (around.before_ns, around.after_ns, around.retrieval_ns)
        parents = list(zip(*(column[picked].tolist() for column in columns), strict=True))
    return list(
        zip(
            *(column[picked].tolist() for column in numbers),
            *([column[row] for row in rows] for column in texts),
            parents,
            [calls.extra[row] for row in rows] if calls.extra else [b""] * len(rows),
            strict=True,
        )
    )


_input = int_attribute(ATTRIBUTES, semconv.INPUT_TOKENS)
_output = int_attribute(ATTRIBUTES, semconv.OUTPUT_TOKENS)
_number = int_attribute(ATTRIBUTES, semconv.SEQ)
_SECONDS: Final[tuple[Callable[[float], bytes], ...]] = tuple(
    double_attribute(ATTRIBUTES, name)
    for name in (
        semconv.TTFT,
        semconv.QUEUE_TIME,
        semconv.PREFILL_TIME,
        semconv.DECODE_TIME,
        semconv.LARGEST_GAP,
    )
)


def _trace(row: _Row, ids: bytes, templates: _Templates, seq: int) -> bytes:
    """All spans of one call, each as a field of its ScopeSpans."""
    _, start, end, tokens_in, tokens_out, *seconds, error, finish, cancelled, user, session, parents, extra = row
    trace_id = b"\x0a\x10" + ids[:16]
    root_id = ids[24:32]
    parts = [
        trace_id,
        b"\x12\x08" + ids[16:24],
        b"" if parents is None else b"\x22\x08" + root_id,
        templates.inference,
        _TIMES(_START, start, _END, end),
        _input(tokens_in),
        _output(tokens_out),
        _number(seq),
        *(make(value) for make, value in zip(_SECONDS, seconds, strict=True) if value == value),  # NaN is not sent
        _outcome(error, finish, cancelled),
        _who(user, session),
        extra,
    ]
    inference = field(2, b"".join(parts))
    if parents is None:
        return inference
    before, after, retrieval_ns = parents
    root_start = start - before
    root = b"".join(
        (
            trace_id,
            b"\x12\x08" + root_id,
            templates.root,
            _TIMES(_START, root_start, _END, end + after),
            _http_outcome(error, cancelled),
        )
    )
    if not retrieval_ns:
        return field(2, root) + inference
    retrieval_start = start - retrieval_ns
    retrieval = b"".join(
        (
            trace_id,
            b"\x12\x08" + ids[32:40],
            b"\x22\x08" + root_id,
            templates.retrieval,
            _TIMES(_START, retrieval_start, _END, start),
        )
    )
    return field(2, root) + field(2, retrieval) + inference


@lru_cache(maxsize=4096)
def _outcome(error: str, finish: str, cancelled: bool) -> bytes:
    """Finish reason, error and cancellation; few different ones exist."""
    made = attribute(ATTRIBUTES, semconv.FINISH_REASONS, [finish]) if finish else b""
    if cancelled:
        made += attribute(ATTRIBUTES, semconv.CANCELLED, True)
    if error:
        made += attribute(ATTRIBUTES, semconv.ERROR_TYPE, error) + _failed(error)
    return made


@lru_cache(maxsize=4096)
def _http_outcome(error: str, cancelled: bool) -> bytes:
    # 499 is what proxies write when the client went away; it is no fault of the server.
    code = 500 if error else 499 if cancelled else 200
    made = attribute(ATTRIBUTES, "http.response.status_code", code)
    return made + attribute(ATTRIBUTES, semconv.ERROR_TYPE, "500") + _failed("") if error else made


def _failed(message: str) -> bytes:
    return field(_STATUS, Status(code=Status.STATUS_CODE_ERROR, message=message).SerializeToString())


@lru_cache(maxsize=4096)
def _user(user: str) -> bytes:
    return attribute(ATTRIBUTES, semconv.USER_ID, user) if user else b""


def _who(user: str, session: str) -> bytes:
    if not session:
        return _user(user)
    ids = (semconv.CONVERSATION_ID, semconv.SESSION_ID)
    return _user(user) + b"".join(attribute(ATTRIBUTES, name, session) for name in ids)
