"""Judgements and engagement in plain JSON, as a web page sends them, to the OTLP log request that says the same.

One path to the store: what comes out goes the way of `/v1/logs`. A request is taken as a whole or not at all.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from monitor import semconv
from monitor.errors import BadInput

SCOPE: Final = "monitor.api"
NAME_CHARS_MAX: Final = 256
_KIND: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_NS: Final = 2**63 - 1
_ABOUT: Final = ("trace_id", "span_id", "response_id", "service", "timestamp")
Item = Mapping[str, Any]


class BadJudgement(BadInput):
    """The body is not what the path wants; nothing of it was taken."""

    reason = "malformed"


class NotForPages(BadInput):
    """The token is one of web pages, and this is not for them to say."""

    reason = "forbidden"


def evaluations_request(body: bytes, now_ns: int, *, from_page: bool = False) -> ExportLogsServiceRequest:
    """Evaluations as a log request, those without a time at `now_ns`.

    Parameters
    ----------
    from_page : bool
        Whether the sender is known to be no more than somebody who opened a page: it speaks as `user` only.

    Raises
    ------
    BadJudgement
        Saying what is wrong, and where.
    NotForPages
        If a page says something else than what its user thinks.
    """
    return _request(body, now_ns, lambda item, where: _evaluation(item, where, from_page))


def feedback_request(body: bytes, now_ns: int) -> ExportLogsServiceRequest:
    """Thumbs, comments and engagement as a log request; the rest is as for evaluations."""
    return _request(body, now_ns, _feedback)


def _request(body: bytes, now_ns: int, read: Callable[[Item, str], LogRecord]) -> ExportLogsServiceRequest:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        said = str(error).encode("utf-8", "replace").decode()
        raise BadJudgement(f"the body is not JSON: {said[:200]}") from None
    if not isinstance(values, list):
        return _message([values], [""], now_ns, read)
    return _message(values, [f"[{number}]" for number in range(len(values))], now_ns, read)


def evaluations_message(items: Sequence[object], places: Sequence[str], now_ns: int) -> ExportLogsServiceRequest:
    """Evaluations that were read from elsewhere as a log request; `places` say where each stands, for messages."""
    return _message(items, places, now_ns, lambda item, where: _evaluation(item, where, False))


def _message(
    items: Sequence[object], places: Sequence[str], now_ns: int, read: Callable[[Item, str], LogRecord]
) -> ExportLogsServiceRequest:
    message = ExportLogsServiceRequest()
    by_service: dict[str, Any] = {}
    for number, (item, place) in enumerate(zip(items, places, strict=True)):
        where = f"{place}." if place else ""
        if not isinstance(item, dict):
            raise BadJudgement(f"{place or 'the body'}: must be a JSON object, not {_shown(item)}")
        record = read(item, where)
        _say_about(record, item, where, now_ns + number)
        service = _name(item, "service", where) or ""
        if service not in by_service:
            block = message.resource_logs.add()
            if service:
                _add(block.resource.attributes, semconv.SERVICE_NAME, service)
            by_service[service] = block.scope_logs.add()
            by_service[service].scope.name = SCOPE
        by_service[service].log_records.append(record)
    return message


def _evaluation(item: Item, where: str, from_page: bool) -> LogRecord:
    own = ("name", "score", "label", "source", "evaluator", "explanation", "error_type")
    _refuse_unknown(item, (*_ABOUT, *own), where)
    _demand(item, ("trace_id", "response_id"), where, "say which answer is meant")
    _demand(item, ("score", "label", "error_type"), where, "give at least one")
    source = _one_of(item, "source", semconv.EVALUATION_SOURCES, where)
    if from_page and source not in (None, "user"):
        raise NotForPages(f"{where}source: this token is for web pages, which may say `user` only, not `{source}`")
    _demand(item, ("name",), where, "say what was judged, such as `correct`")
    return _record(
        semconv.EVALUATION_EVENT,
        {
            semconv.EVALUATION_NAME: _name(item, "name", where),
            semconv.EVALUATION_SCORE: _score(item, where),
            semconv.EVALUATION_LABEL: _name(item, "label", where),
            semconv.EVALUATION_SOURCE: "user" if from_page else source,
            semconv.EVALUATION_EVALUATOR: _name(item, "evaluator", where),
            semconv.EVALUATION_EXPLANATION: _text(item, "explanation", where),
            semconv.ERROR_TYPE: _name(item, "error_type", where),
        },
    )


def _feedback(item: Item, where: str) -> LogRecord:
    own = ("thumbs", "kind", "value", "comment", "session_id", "user_id")
    _refuse_unknown(item, (*_ABOUT, *own), where)
    _demand(item, ("trace_id", "response_id", "session_id", "user_id"), where, "say which answer or session is meant")
    _demand(item, ("thumbs", "kind", "comment"), where, "give at least one")
    thumbs, kind = _one_of(item, "thumbs", semconv.THUMBS_VALUES, where), _text(item, "kind", where)
    value = _text(item, "value", where)
    if kind is not None and not _KIND.fullmatch(kind):
        raise BadJudgement(f"{where}kind: must be a short name in lower case, such as `copy`, not {_shown(kind)}")
    if thumbs is not None and (kind not in (None, semconv.THUMBS) or value is not None):
        raise BadJudgement(f"{where}thumbs: is short for kind `thumbs` with that value; leave out `kind` and `value`")
    if kind == semconv.THUMBS and thumbs is None and value not in semconv.THUMBS_VALUES:
        raise BadJudgement(f"{where}value: must be one of up, down when the kind is `thumbs`, not {_shown(value)}")
    return _record(
        semconv.ENGAGEMENT_EVENT,
        {
            semconv.ENGAGEMENT_KIND: semconv.THUMBS if thumbs is not None else kind or semconv.COMMENT,
            semconv.ENGAGEMENT_VALUE: thumbs if thumbs is not None else value,
            semconv.ENGAGEMENT_COMMENT: _text(item, "comment", where),
            semconv.SESSION_ID: _name(item, "session_id", where),
            semconv.USER_ID: _name(item, "user_id", where),
        },
    )


def _record(event: str, attributes: Mapping[str, str | float | None]) -> LogRecord:
    record = LogRecord(event_name=event)
    for key, value in attributes.items():
        if value is not None:
            _add(record.attributes, key, value)
    return record


def _add(attributes: Any, key: str, value: str | float) -> None:
    attribute = attributes.add(key=key)
    if isinstance(value, str):
        attribute.value.string_value = value
    else:
        attribute.value.double_value = value


def _say_about(record: LogRecord, item: Item, where: str, arrived_ns: int) -> None:
    """Which answer, and when."""
    trace_id, span_id = _id(item, "trace_id", 32, where), _id(item, "span_id", 16, where)
    if span_id and not trace_id:
        raise BadJudgement(f"{where}span_id: alone says not which answer is meant; give its trace_id too")
    record.trace_id, record.span_id = trace_id, span_id
    if (response_id := _name(item, "response_id", where)) is not None:
        _add(record.attributes, semconv.RESPONSE_ID, response_id)
    record.time_unix_nano = _time_ns(item, where) or arrived_ns
    record.observed_time_unix_nano = arrived_ns


def _refuse_unknown(item: Item, known: tuple[str, ...], where: str) -> None:
    for name in item:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
            raise BadJudgement(f"{where}{_plain(name)}: is not known here; {hint}")


def _demand(item: Item, names: tuple[str, ...], where: str, why: str) -> None:
    if all(item.get(name) is None for name in names):
        # The last dot only leads to a name.
        at = f"{where.rstrip('.')}: " if where else ""
        raise BadJudgement(f"{at}{' or '.join(names)} is missing; {why}")


def _id(item: Item, name: str, digits: int, where: str) -> bytes:
    value = item.get(name)
    if value is None:
        return b""
    if not isinstance(value, str) or not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", value) or not int(value, 16):
        raise BadJudgement(f"{where}{name}: must be {digits} hexadecimal digits, not all 0, not {_shown(value)}")
    return bytes.fromhex(value)


def _score(item: Item, where: str) -> float | None:
    value = item.get("score")
    if value is None:
        return None
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        number = math.nan
    if not math.isfinite(number):
        raise BadJudgement(f"{where}score: must be a finite number, not {_shown(value)}")
    return number


def _name(item: Item, name: str, where: str) -> str | None:
    value = _text(item, name, where)
    if value is not None and not (value.strip() and len(value) <= NAME_CHARS_MAX):
        raise BadJudgement(f"{where}{name}: must be a text of 1 to {NAME_CHARS_MAX} characters, not {_shown(value)}")
    return value


def _text(item: Item, name: str, where: str) -> str | None:
    value = item.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadJudgement(f"{where}{name}: must be a text, not {_shown(value)}")
    # Half a character, which JSON can escape and protobuf cannot hold.
    return value.encode("utf-8", "replace").decode()


def _one_of(item: Item, name: str, allowed: tuple[str, ...], where: str) -> str | None:
    value = item.get(name)
    if value is not None and value not in allowed:
        raise BadJudgement(f"{where}{name}: must be one of {', '.join(allowed)}, not {_shown(value)}")
    return value


def _time_ns(item: Item, where: str) -> int:
    value = item.get("timestamp")
    if value is None:
        return 0
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        when = None
    if when is None or when.utcoffset() is None or when <= _EPOCH:
        raise BadJudgement(
            f"{where}timestamp: must be a time after 1970 with its zone, such as 2026-01-31T12:00:00Z, not {_shown(value)}"
        )
    # One that no table can hold is for the check to clamp, as any other in the far future.
    return min((when - _EPOCH) // timedelta(microseconds=1) * 1000, _LATEST_NS)


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _plain(name: str) -> str:
    return name[:60].encode("utf-8", "replace").decode()
