"""Judgements as OTLP bytes: events of the judged span, and log records that come later."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from collectors.simulate.spans import ATTRIBUTES, Batch
from collectors.simulate.wire import AttributeValue, attribute, field, key_values
from monitor import semconv

# Fields in trace.proto and logs.proto: events of a span are 11; of an event, time is 1 (fixed64), name 2, attributes 3.
_EVENTS: Final = 11
_EVENT_ATTRIBUTES: Final = 3
_LOG_ATTRIBUTES, _LOG_TRACE_ID, _LOG_SPAN_ID, _LOG_EVENT_NAME = 6, 9, 10, 12
_TIME = struct.Struct("<BQ").pack
_TIME_TAG: Final = 1 << 3 | 1


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a judge says of an answer; the few different ones are encoded once."""

    name: str
    label: str
    source: str
    evaluator: str
    score: float | None = None
    explanation: str = ""

    def attributes(self) -> dict[str, AttributeValue]:
        said: dict[str, AttributeValue] = {
            semconv.EVALUATION_NAME: self.name,
            semconv.EVALUATION_LABEL: self.label,
            semconv.EVALUATION_SOURCE: self.source,
            semconv.EVALUATION_EVALUATOR: self.evaluator,
            semconv.EVALUATION_EXPLANATION: self.explanation,
            semconv.SIMULATED: True,
        }
        if self.score is not None:
            said[semconv.EVALUATION_SCORE] = self.score
        return {key: value for key, value in said.items() if value != ""}


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A judgement that comes when the call is over: when, of which call (its number), of which service, and what it says."""

    time_ns: int
    call: int
    service: str
    said: bytes


def span_event(evaluation: Evaluation, time_ns: int) -> bytes:
    """The evaluation as a field of the judged span."""
    return field(_EVENTS, _TIME(_TIME_TAG, time_ns) + _event_of(evaluation))


@lru_cache(maxsize=4096)
def evaluation_record(evaluation: Evaluation) -> bytes:
    """What a log record says of an evaluation, without time and ids."""
    return _record(semconv.EVALUATION_EVENT, evaluation.attributes())


def engagement_record(kind: str, *, user: str, session: str, value: str = "", comment: str = "") -> bytes:
    """What a log record says of something that a user did, without time and ids."""
    said: dict[str, AttributeValue] = {
        semconv.ENGAGEMENT_KIND: kind,
        semconv.ENGAGEMENT_VALUE: value,
        semconv.ENGAGEMENT_COMMENT: comment,
        semconv.SESSION_ID: session,
        semconv.USER_ID: user,
        semconv.SIMULATED: True,
    }
    return _record(semconv.ENGAGEMENT_EVENT, {key: text for key, text in said.items() if text != ""})


def logs_request(records: Iterable[tuple[Record, bytes]]) -> Batch:
    """The export request of these records, each with trace id and span id (24 bytes) of the call that it is about."""
    by_service: dict[str, list[bytes]] = {}
    for record, ids in records:
        about = field(_LOG_TRACE_ID, ids[:16]) + field(_LOG_SPAN_ID, ids[16:24])
        whole = _TIME(_TIME_TAG, record.time_ns) + record.said + about
        by_service.setdefault(record.service, []).append(field(2, whole))
    blocks = [field(1, _resource(service) + field(2, b"".join(said))) for service, said in by_service.items()]
    return Batch(body=b"".join(blocks), spans=sum(map(len, by_service.values())), calls=0, call_ids=())


@lru_cache(maxsize=4096)
def _event_of(evaluation: Evaluation) -> bytes:
    attributes = evaluation.attributes()
    return field(2, semconv.EVALUATION_EVENT.encode()) + _attributes(_EVENT_ATTRIBUTES, attributes)


def _record(event: str, attributes: Mapping[str, AttributeValue]) -> bytes:
    return _attributes(_LOG_ATTRIBUTES, attributes) + field(_LOG_EVENT_NAME, event.encode())


def _attributes(number: int, attributes: Mapping[str, AttributeValue]) -> bytes:
    return b"".join(attribute(number, key, value) for key, value in attributes.items())


@lru_cache(maxsize=64)
def _resource(service: str) -> bytes:
    said: dict[str, AttributeValue] = {semconv.SERVICE_NAME: service, semconv.SIMULATED: True}
    return field(1, Resource(attributes=key_values(said)).SerializeToString())


@lru_cache(maxsize=256)
def text_attribute(key: str, value: str) -> bytes:
    """An attribute of a span whose value is one of few."""
    return attribute(ATTRIBUTES, key, value)
