"""What people, judges and users say of an answer: by the id of its trace, by its call, or by the span that is current.

Each becomes one OTLP log record with an event name, which any other language can send as well (docs/judgements.md).
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from opentelemetry import trace

from monitor import semconv
from monitor.errors import BadInput
from monitor.sdk.call import Call
from monitor.sdk.events import Judgement
from monitor.sdk.guard import refuse, swallow
from monitor.sdk.lifecycle import current_judgements

NAME_CHARS_MAX: Final = 256
# More than a collector keeps by default, which marks that it has cut.
TEXT_CHARS_MAX: Final = 100_000

_KIND: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
About = str | Call | None


def evaluate(
    trace_id: About = None,
    name: str = "",
    *,
    score: float | None = None,
    label: str | None = None,
    source: str | None = None,
    evaluator: str | None = None,
    explanation: str | None = None,
    error: str | None = None,
    span_id: str | None = None,
    response_id: str | None = None,
    at: datetime | None = None,
) -> None:
    """Say how good an answer was, by a score, a label or both.

    Never waits and never raises; what is wrong with the arguments is logged once.

    Parameters
    ----------
    trace_id
        32 hexadecimal digits, as `call.trace_id` gives them, or the call itself. None: the current span's.
    name
        What was judged: `correct`, `helpful`, `toxicity`, …
    score, label
        The verdict. A score is any finite number.
    source : {"ground_truth", "human", "user", "judge", "moderation", "probe"}
        What kind of judge it was.
    evaluator
        Which one: a person, a team, a model.
    explanation
        Why. It is stored as it is, whatever `capture_content` says: leave out what may not be kept.
    error
        Why there is no verdict: the judge failed, such as `timeout`.
    span_id
        16 hexadecimal digits, when the trace has several calls.
    response_id
        The provider's id of the answer, where no trace is known.
    at
        When it was judged; now, if not said. The same judgement sent again with the same time counts once.
    """

    def attributes() -> dict[str, Any]:
        if score is None and label is None and error is None:
            raise Wrong("score and label", "score and label are both missing; give at least one")
        return {
            semconv.EVALUATION_NAME: _required("name", name),
            semconv.EVALUATION_SCORE: _score(score),
            semconv.EVALUATION_LABEL: _name("label", label),
            semconv.EVALUATION_SOURCE: _one_of("source", source, semconv.EVALUATION_SOURCES),
            semconv.EVALUATION_EVALUATOR: _name("evaluator", evaluator),
            semconv.EVALUATION_EXPLANATION: _text("explanation", explanation),
            semconv.ERROR_TYPE: _name("error", error),
        }

    _offer("evaluate", semconv.EVALUATION_EVENT, attributes, trace_id, span_id, response_id, at)


def label(
    trace_id: About = None,
    label: str | None = None,
    *,
    name: str = "correct",
    score: float | None = None,
    evaluator: str | None = None,
    explanation: str | None = None,
    span_id: str | None = None,
    response_id: str | None = None,
    at: datetime | None = None,
) -> None:
    """Say what is true of an answer: an evaluation whose source is `ground_truth`; see `evaluate`."""

    def attributes() -> dict[str, Any]:
        if score is None and label is None:
            raise Wrong("score and label", "score and label are both missing; give at least one")
        return {
            semconv.EVALUATION_NAME: _required("name", name),
            semconv.EVALUATION_SCORE: _score(score),
            semconv.EVALUATION_LABEL: _name("label", label),
            semconv.EVALUATION_SOURCE: "ground_truth",
            semconv.EVALUATION_EVALUATOR: _name("evaluator", evaluator),
            semconv.EVALUATION_EXPLANATION: _text("explanation", explanation),
        }

    _offer("label", semconv.EVALUATION_EVENT, attributes, trace_id, span_id, response_id, at)


def feedback(
    trace_id: About = None,
    *,
    thumbs: str | None = None,
    comment: str | None = None,
    user: str | None = None,
    session: str | None = None,
    span_id: str | None = None,
    response_id: str | None = None,
    at: datetime | None = None,
) -> None:
    """Pass on what a user said of an answer: `thumbs` is `up` or `down`, a `comment` may come with it or alone.

    The rest is as in `evaluate`. The comment is stored as it is, whatever `capture_content` says.
    """

    def attributes() -> dict[str, Any]:
        if thumbs is None and comment is None:
            raise Wrong("thumbs and comment", "thumbs and comment are both missing; give at least one")
        return {
            semconv.ENGAGEMENT_KIND: semconv.COMMENT if thumbs is None else semconv.THUMBS,
            semconv.ENGAGEMENT_VALUE: _one_of("thumbs", thumbs, semconv.THUMBS_VALUES),
            semconv.ENGAGEMENT_COMMENT: _text("comment", comment),
            **_who(user, session),
        }

    _offer("feedback", semconv.ENGAGEMENT_EVENT, attributes, trace_id, span_id, response_id, at)


def engagement(
    trace_id: About,
    kind: str,
    *,
    value: str | None = None,
    comment: str | None = None,
    user: str | None = None,
    session: str | None = None,
    span_id: str | None = None,
    response_id: str | None = None,
    at: datetime | None = None,
) -> None:
    """Say what a user did with an answer, or in a session.

    Parameters
    ----------
    trace_id
        As in `evaluate`; with None and no current span the event is about no single answer.
    kind
        `copy`, `regenerate`, `edit`, `accept`, `share`, `abandon`, `report`, or a name of your own in lower case.
    value
        A detail, such as where it was shared.
    user, session
        Who, and in which conversation.
    """

    def attributes() -> dict[str, Any]:
        return {
            semconv.ENGAGEMENT_KIND: _kind(kind),
            semconv.ENGAGEMENT_VALUE: _text("value", value),
            semconv.ENGAGEMENT_COMMENT: _text("comment", comment),
            **_who(user, session),
        }

    _offer(
        "engagement", semconv.ENGAGEMENT_EVENT, attributes, trace_id, span_id, response_id, at, may_be_about_none=True
    )


class Wrong(BadInput):
    """An argument is impossible; `argument` names it."""

    def __init__(self, argument: str, what: str) -> None:
        super().__init__(what)
        self.argument = argument


def _offer(
    said_by: str,
    event: str,
    attributes: Callable[[], dict[str, Any]],
    about: About,
    span_id: str | None,
    response_id: str | None,
    at: datetime | None,
    *,
    may_be_about_none: bool = False,
) -> None:
    judgements = current_judgements()
    try:
        now_ns = time.time_ns()
        trace_number, span_number = _ids(about, span_id)
        known = {**attributes(), semconv.RESPONSE_ID: _name("response_id", response_id)}
        if not (trace_number or response_id or may_be_about_none):
            raise Wrong("trace_id", "there is no span current, so say by trace_id which answer is meant")
        judgement = Judgement(
            event=event,
            trace_id=trace_number,
            span_id=span_number,
            attributes={key: value for key, value in known.items() if value is not None},
            time_ns=now_ns if at is None else _time_ns(at),
        )
    except Wrong as error:
        judgements.refuse()
        refuse(f"{said_by} {error.argument}", BadInput(f"monitor.{said_by}: {error}."))
        return
    except Exception:
        swallow(f"reading arguments of {said_by}()")
        return
    try:
        judgements.offer(judgement, said_by)
    except Exception:
        swallow("queueing a judgement")


def _ids(about: About, span_id: str | None) -> tuple[int, int]:
    """Trace and span id as numbers; 0 where there is none."""
    if about is None:
        if span_id is not None:
            raise Wrong("span_id", "span_id alone says not which answer is meant; give its trace_id too")
        current = trace.get_current_span().get_span_context()
        return (current.trace_id, current.span_id) if current.is_valid else (0, 0)
    if isinstance(about, Call):
        trace_id, own = about.trace_id, about.span_id
        if not trace_id:
            raise Wrong("trace_id", "this call is recorded nowhere: it has not begun, or monitor.init() is not running")
        return int(trace_id, 16), int(own, 16) if span_id is None else _hexadecimal("span_id", span_id, 16)
    return _hexadecimal("trace_id", about, 32), 0 if span_id is None else _hexadecimal("span_id", span_id, 16)


def _hexadecimal(argument: str, value: object, digits: int) -> int:
    # The pattern first, because int() takes signs, underscores and the digits of other scripts.
    if not isinstance(value, str) or not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", value) or not int(value, 16):
        raise Wrong(argument, f"{argument} must be {digits} hexadecimal digits, not all 0, not {_shown(value)}")
    return int(value, 16)


def _score(value: object) -> float | None:
    if value is None:
        return None
    try:
        # Also of NumPy's numbers, which OTLP cannot encode; but not of text.
        number = math.nan if isinstance(value, str | bytes) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise Wrong("score", f"score must be a finite number, not {_shown(value)}")
    return number


def _name(argument: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > NAME_CHARS_MAX:
        what = f"{argument} must be a text of 1 to {NAME_CHARS_MAX} characters, not {_shown(value)}"
        raise Wrong(argument, what)
    return _encodable(value)


def _required(argument: str, value: object) -> str | None:
    return _name(argument, "" if value is None else value)


def _kind(value: object) -> str:
    if not isinstance(value, str) or not _KIND.fullmatch(value):
        raise Wrong("kind", f"kind must be a short name in lower case, such as copy, not {_shown(value)}")
    return value


def _text(argument: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise Wrong(argument, f"{argument} must be a text, not {_shown(value)}")
    return _encodable(value[:TEXT_CHARS_MAX])


def _one_of(argument: str, value: object, allowed: Sequence[str]) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or value not in allowed:
        raise Wrong(argument, f"{argument} must be one of {', '.join(allowed)}, not {_shown(value)}")
    return value


def _who(user: str | None, session: str | None) -> dict[str, str | None]:
    return {semconv.USER_ID: _name("user", user), semconv.SESSION_ID: _name("session", session)}


def _time_ns(value: object) -> int:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise Wrong("at", f"at must be a datetime with a time zone, not {_shown(value)}")
    since = (value - _EPOCH) // timedelta(microseconds=1) * 1000
    if since <= 0:
        raise Wrong("at", f"at must be after 1970, not {_shown(value)}")
    return min(since, 2**63 - 1)  # more cannot be encoded, and is clamped by any collector


def _encodable(value: str) -> str:
    # Half a surrogate pair cannot be encoded, and would take the whole batch with it.
    return value.encode("utf-8", "replace").decode("utf-8")


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
