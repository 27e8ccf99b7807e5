"""What the built requests say, read back by the protobuf library."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collectors.simulate.calls import Calls, Origin, calls_of
from collectors.simulate.replay import slices
from collectors.simulate.serving import Node
from collectors.simulate.spans import Batch, Encoder
from collectors.simulate.wire import attribute, double_attribute, int_attribute
from collectors.simulate.workload import Workload, azure_trace
from monitor import semconv

ORIGIN = Origin(service="chat", node="n1", model="m", provider="vllm", variant="fp8", release="1.2")
NODES = [Node(name="n1"), Node(name="n2")]


def small(count: int = 50) -> Workload:
    trace = azure_trace()
    return dataclasses.replace(
        trace,
        arrival_ns=trace.arrival_ns[:count],
        input_tokens=trace.input_tokens[:count],
        output_tokens=trace.output_tokens[:count],
    )


def encoder(seed: int = 5) -> Encoder:
    origins = [ORIGIN, dataclasses.replace(ORIGIN, node="n2", variant="")]
    return Encoder(origins, emitter="test", ids=np.random.default_rng(seed))


def spans_of(batch: Batch) -> list[tuple[dict[str, Any], Span]]:
    out = []
    for resource_spans in ExportTraceServiceRequest.FromString(batch.body).resource_spans:
        resource = values(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            out += [(resource, span) for span in scope_spans.spans]
    return out


def values(attributes: Any) -> dict[str, Any]:
    def one(value: Any) -> Any:
        kind = value.WhichOneof("value")
        return [one(v) for v in value.array_value.values] if kind == "array_value" else getattr(value, kind)

    return {attribute.key: one(attribute.value) for attribute in attributes}


def calls(with_parents: bool = True, count: int = 50) -> Calls:
    made = calls_of(small(count), nodes=NODES, seed=1, with_parents=with_parents)
    return made.shifted(1_700_000_000_123_456_789)


def test_a_call_becomes_one_span_with_exact_numbers() -> None:
    made = calls(with_parents=False)
    batch = encoder().encode(made, np.arange(len(made)))
    found = spans_of(batch)
    assert (batch.spans, batch.calls) == (50, 50)
    by_start = {span.start_time_unix_nano: (resource, span) for resource, span in found}
    for i in range(len(made)):
        resource, span = by_start[int(made.start_ns[i])]
        said = values(span.attributes)
        assert span.end_time_unix_nano - span.start_time_unix_nano == made.duration_ns[i]
        assert span.kind == Span.SPAN_KIND_CLIENT
        assert span.name == "chat m"
        assert not span.parent_span_id
        assert said[semconv.INPUT_TOKENS] == made.input_tokens[i]
        assert said[semconv.OUTPUT_TOKENS] == made.output_tokens[i]
        assert said[semconv.TTFT] == made.ttft_s[i]
        assert said[semconv.QUEUE_TIME] == made.queue_s[i]
        assert said[semconv.PREFILL_TIME] == made.prefill_s[i]
        assert said[semconv.DECODE_TIME] == made.decode_s[i]
        assert said[semconv.LARGEST_GAP] == made.largest_gap_s[i]
        assert said[semconv.SIMULATED] is True
        assert said[semconv.STREAM] is True
        assert said[semconv.OPERATION] == "chat"
        assert semconv.SIMULATED_ARRIVALS not in said
        assert semconv.ERROR_TYPE not in said
        assert semconv.USER_ID not in said
        assert resource[semconv.NODE] == NODES[made.origin[i]].name
        assert (semconv.VARIANT in resource) == (made.origin[i] == 0)


def test_ids_are_valid_unique_and_reported() -> None:
    made = calls()
    enc = encoder()
    batches = [enc.encode(made, picked) for picked in slices(made, np.arange(len(made)), 16)]
    found = [span for batch in batches for _, span in spans_of(batch)]
    span_ids = {span.span_id for span in found}
    assert len(span_ids) == len(found) == made.spans.sum()
    assert {len(span_id) for span_id in span_ids} == {8}
    assert {len(span.trace_id) for span in found} == {16}
    assert len({span.trace_id for span in found}) == len(made)
    assert all(any(span.trace_id) and any(span.span_id) for span in found)
    chats = {span.trace_id + span.span_id for span in found if span.name == "chat m"}
    assert chats == {call_id for batch in batches for call_id in batch.call_ids}


def test_the_waterfall_is_one_tree_and_only_the_inference_is_a_model_call() -> None:
    made = calls()
    traces: dict[bytes, dict[str, Span]] = {}
    for _, span in spans_of(encoder().encode(made, np.arange(len(made)))):
        traces.setdefault(span.trace_id, {})[span.name.split()[0]] = span
    with_retrieval = 0
    for spans in traces.values():
        root, call, retrieval = spans["POST"], spans["chat"], spans.get("retrieve")
        assert root.kind == Span.SPAN_KIND_SERVER
        assert not root.parent_span_id
        assert call.parent_span_id == root.span_id
        assert root.start_time_unix_nano < call.start_time_unix_nano
        assert root.end_time_unix_nano > call.end_time_unix_nano
        assert semconv.OPERATION not in values(root.attributes)
        assert values(root.attributes)["http.response.status_code"] == 200
        if retrieval is not None:
            with_retrieval += 1
            assert retrieval.parent_span_id == root.span_id
            assert values(retrieval.attributes)[semconv.OPERATION] == "retrieval"
            assert root.start_time_unix_nano < retrieval.start_time_unix_nano
            assert retrieval.end_time_unix_nano == call.start_time_unix_nano
        model_calls = [span for span in spans.values() if semconv.INPUT_TOKENS in values(span.attributes)]
        assert model_calls == [call]
    assert 0 < with_retrieval < len(traces)


def test_errors_cancellations_users_and_unknown_values() -> None:
    made = dataclasses.replace(
        calls(count=3),
        error=("TimeoutError", "", ""),
        finish=("error", "stop", ""),
        cancelled=(False, False, True),
        user=("u1", "", "u3"),
        session=("s1", "", ""),
        ttft_s=np.array([np.nan, 0.5, np.nan]),
        origin=np.zeros(3, dtype=np.int64),
    )
    found = [span for _, span in spans_of(encoder().encode(made, np.arange(3)))]
    failed, fine, left = (span for span in found if span.name == "chat m")
    roots = [values(span.attributes) for span in found if span.name.startswith("POST")]
    assert failed.status.code == Status.STATUS_CODE_ERROR
    said = values(failed.attributes)
    assert said[semconv.ERROR_TYPE] == "TimeoutError"
    assert said[semconv.FINISH_REASONS] == ["error"]
    assert (said[semconv.USER_ID], said[semconv.SESSION_ID], said[semconv.CONVERSATION_ID]) == (
        "u1",
        "s1",
        "s1",
    )
    assert semconv.TTFT not in said
    assert values(fine.attributes)[semconv.TTFT] == 0.5
    assert values(fine.attributes)[semconv.FINISH_REASONS] == ["stop"]
    assert fine.status.code == left.status.code == Status.STATUS_CODE_UNSET
    assert values(left.attributes)[semconv.CANCELLED] is True
    assert semconv.FINISH_REASONS not in values(left.attributes)
    assert [root["http.response.status_code"] for root in roots] == [500, 200, 499]


def test_calls_are_numbered_without_gaps_per_emitter_across_requests() -> None:
    made = calls()
    enc = encoder()
    numbers: dict[str, list[int]] = {}
    for picked in slices(made, np.arange(len(made)), 7):
        for resource, span in spans_of(enc.encode(made, picked)):
            said = values(span.attributes)
            if semconv.SEQ in said:
                numbers.setdefault(resource[semconv.EMITTER], []).append(said[semconv.SEQ])
    assert set(numbers) == {"test-1", "test-2"}
    for given_numbers in numbers.values():
        assert given_numbers == list(range(1, len(given_numbers) + 1))


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 512])
def test_slices_take_every_call_once_and_keep_to_the_size(batch: int) -> None:
    made = calls()
    order = np.argsort(-made.start_ns)
    cut = list(slices(made, order, batch))
    assert np.concatenate(cut).tolist() == order.tolist()
    assert all(made.spans[piece].sum() <= max(batch, 3) for piece in cut)
    assert all(made.spans[piece].sum() <= batch or len(piece) == 1 for piece in cut)


def test_nineteen_thousand_calls_are_encoded_within_a_second() -> None:
    made = calls_of(azure_trace(), nodes=NODES, seed=1, with_parents=False).shifted(1_700_000_000 * 10**9)
    enc = encoder()
    began = time.process_time()
    sizes = [enc.encode(made, picked).calls for picked in slices(made, np.arange(len(made)), 512)]
    assert sum(sizes) == 19_366
    assert time.process_time() - began < 1.0


@given(value=st.integers(0, 2**63 - 1), seconds=st.floats(allow_nan=False), text=st.text(max_size=400))
def test_hand_made_attributes_read_like_the_librarys(value: int, seconds: float, text: str) -> None:
    span = Span.FromString(
        int_attribute(9, "whole")(value) + double_attribute(9, "real")(seconds) + attribute(9, "text", text)
    )
    assert values(span.attributes) == {"whole": value, "real": seconds, "text": text}
    assert all(isinstance(found, KeyValue) for found in span.attributes)
