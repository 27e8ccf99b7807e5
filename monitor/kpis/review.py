"""Which calls to label next, and why: what shortens the accuracy interval most, and what machines are unsure of.

Two kinds of labels are kept apart, since one would spoil the other. Labels that the estimate of accuracy may use must be of
calls that were taken by lot within each hour; the queue takes them where they help most (kind `interval`, to be sent as
`correct`). Calls that are chosen for what they are, since the judge is unsure, teach most about the judge and the classifier
of refusals, and would make any mean lie: they are to be sent under a name that no mean reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from monitor.errors import BadInput
from monitor.kpis.dimensions import Where, check_where, where_sql
from monitor.kpis.sources.judged import NO, YES, calls_judged
from monitor.kpis.sources.moderated import SAID_REFUSAL
from monitor.kpis.sources.question import Question
from monitor.kpis.window import Window
from monitor.stats.neyman import Labelling, next_labels
from monitor.store import Client
from monitor.store.judged import judged_source

KINDS: Final = ("interval", "refusal", "disagreement", "unsure")
LIMIT_MAX: Final = 1000
EXCERPT: Final = 300
# Kind -> name under which its label is to be sent.
_SEND_AS: Final = {
    "interval": "correct",
    "refusal": "refusal",
    "disagreement": "correct.second",
    "unsure": "correct.chosen",
}
_HOUR: Final = "toInt64(intDiv(toUnixTimestamp(timestamp), 3600))"
_EVERYTHING: Final[Where] = {}
# By lot, and the same lots for everybody who looks: two people who label from one queue do not skip around each other.
_LOT: Final = "cityHash64(trace_id, span_id, 'review')"


@dataclass(frozen=True, kw_only=True)
class ToLabel:
    """A call to label.

    Attributes
    ----------
    trace_id, span_id, timestamp, service, model
        Of the call.
    kind : {"interval", "refusal", "disagreement", "unsure"}
    send_as : str
        Name of the evaluation that the label is to be sent as.
    value : float
        How informative within its kind, the largest first: `interval`: what the label takes from the variance of the
        accuracy; `refusal`, `unsure`: 1 − |2p − 1|, which is 1 at p = ½; `disagreement`: |label − verdict|.
    why : str
        The same in words.
    prompt, completion : str
        Their beginnings, where captured.
    """

    trace_id: str
    span_id: str
    timestamp: datetime
    service: str
    model: str
    kind: str
    send_as: str
    value: float
    why: str
    prompt: str
    completion: str

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "timestamp": self.timestamp.isoformat()}


def review_queue(
    client: Client,
    *,
    window: Window,
    limit: int = 50,
    kinds: Sequence[str] = KINDS,
    where: Where = _EVERYTHING,
) -> list[ToLabel]:
    """The calls of a window that are worth most to label, half of them (if `interval` is among the kinds) for the interval.

    Parameters
    ----------
    client : Client
    window : Window
        In which the calls began.
    limit : int
        Calls at most, up to 1000.
    kinds : sequence of str
        Of `KINDS`. The kinds beside `interval` share what it leaves, in turn; a kind that has too few leaves its places to
        the others.
    where : mapping
        Filter, as of KPIs.

    Raises
    ------
    BadInput
        If a kind or filter is unknown, or the limit does not fit.
    """
    if not 1 <= limit <= LIMIT_MAX:
        raise BadInput(f"a queue has 1 to {LIMIT_MAX} calls, not {limit}")
    for kind in kinds:
        if kind not in KINDS:
            raise BadInput(f"there is no kind `{kind}` of call to label; known are {', '.join(KINDS)}")
    question = Question(start_ns=window.start_ns, end_ns=window.end_ns, where=check_where(where), groups_max=1)
    found = {kind: _FIND[kind](client, question, limit) for kind in KINDS if kind in kinds}
    return _mixed(found, limit)


def _mixed(found: dict[str, list[ToLabel]], limit: int) -> list[ToLabel]:
    """Half from `interval`, the rest from the others in turn; each call once, by its first reason."""
    queue: list[ToLabel] = []
    taken: set[tuple[str, str]] = set()
    waiting = {kind: iter(each) for kind, each in found.items()}
    others = [kind for kind in found if kind != "interval"]
    turns = [turn for kind in others for turn in ("interval", kind)] if "interval" in found else list(others)
    turns = turns or ["interval"]
    while waiting and len(queue) < limit:
        for kind in turns:
            if kind not in waiting or len(queue) == limit:
                continue
            for call in waiting[kind]:
                if (call.trace_id, call.span_id) not in taken:
                    taken.add((call.trace_id, call.span_id))
                    queue.append(call)
                    break
            else:
                del waiting[kind]
    return queue


def _for_interval(client: Client, question: Question, limit: int) -> list[ToLabel]:
    """By lot within the hours that the estimate goes by, where a label shortens its interval most."""
    condition, parameters = where_sql(question.where)
    judged = calls_judged(client, question)
    counts = (
        f"SELECT {_HOUR} AS hour, countIf(isNotNull(right_)), countIf(isNull(right_) AND isNotNull(verdict)),"
        " sumIf(sample_weight, isNotNull(right_) OR isNotNull(verdict)),"
        " sumIf(abs(assumeNotNull(right_) - assumeNotNull(verdict)), isNotNull(right_) AND isNotNull(verdict)),"
        " sumIf(1 - assumeNotNull(right_), isNotNull(right_)), countIf(isNotNull(right_) AND isNotNull(verdict))"
        f" FROM {judged} WHERE {condition} GROUP BY hour ORDER BY hour"
    )
    rows = client.query(counts, parameters=parameters).result_rows
    by_judge = any(row[2] for row in rows)
    source, free = judged, "isNull(right_) AND isNotNull(verdict)"
    if not by_judge:
        # Without a judge the mean is over all calls.
        source = _with_labels(client, question)
        free = "labelled = 0 AND error_type = ''"
        rows = client.query(
            f"SELECT {_HOUR} AS hour, countIf(labelled > 0), countIf({free}), sum(sample_weight), 0, sum(wrong), 0"
            f" FROM {source} WHERE {condition} GROUP BY hour ORDER BY hour",
            parameters=parameters,
        ).result_rows
    whole = sum(row[3] for row in rows)
    if not whole:
        return []
    strata = [
        Labelling(
            share=float(row[3]) / whole,
            labels=int(row[6] if by_judge else row[1]),
            left=int(row[2]),
            hits=float(row[4] if by_judge else row[5]),
        )
        for row in rows
    ]
    steps = next_labels(strata, limit)
    wanted: dict[int, list[float]] = {}
    for step in steps:
        wanted.setdefault(int(rows[step.stratum][0]), []).append(step.gain)
    if not wanted:
        return []
    hours = ", ".join(str(hour) for hour in wanted)
    listed = client.query(
        f"SELECT {_HOUR} AS hour, {_columns()} FROM {source} WHERE {condition} AND {free} AND hour IN ({hours})"
        f" ORDER BY {_LOT} LIMIT {max(map(len, wanted.values()))} BY hour",
        parameters=parameters,
    ).result_rows
    by_hour: dict[int, list[Any]] = {}
    for hour, *call in listed:
        by_hour.setdefault(int(hour), []).append(call)
    labels = {int(row[0]): stratum.labels for row, stratum in zip(rows, strata, strict=True)}
    found = []
    for hour, gains in wanted.items():
        for call, gain in zip(by_hour.get(hour, []), gains, strict=False):
            why = f"by lot, of an hour with {labels[hour]} labels; takes {gain:.2g} from the variance"
            found.append(_to_label(call, "interval", gain, why))
    return sorted(found, key=lambda each: -each.value)


def _with_labels(client: Client, question: Question) -> str:
    condition = "name = 'correct' AND source IN ('human', 'ground_truth') AND error_type = ''"
    no = f"lower(label) IN {NO} OR (lower(label) NOT IN {YES} AND ifNull(score < 0.5, 0))"
    wrong = f"toFloat64(argMax({no}, timestamp))"
    columns = {"labelled": "count()", "wrong": wrong}
    return judged_source(client, question.start_ns, question.end_ns, condition=condition, columns=columns)


def _unsure_refusals(client: Client, question: Question, limit: int) -> list[ToLabel]:
    """Where the classifier of refusals is near ½, and nobody has said what it is."""
    people = "source IN ('human', 'ground_truth')"
    rows = judged_source(
        client,
        question.start_ns,
        question.end_ns,
        condition=f"name = 'refusal' AND source != 'probe' AND error_type = '' AND isNotNull({SAID_REFUSAL})",
        columns={"people": f"countIf({people})", "p": f"argMaxIf(score, timestamp, NOT {people} AND isNotNull(score))"},
        every_call=False,
    )
    near = "1 - abs(2 * assumeNotNull(p) - 1)"
    return _listed(
        client, question, rows, "refusal", near, f"people = 0 AND isNotNull(p) AND {near} > 0.2",
        "a refusal with a probability of", "p", limit,
    )  # fmt: skip


def _disagreements(client: Client, question: Question, limit: int) -> list[ToLabel]:
    """Where a person and the judge say opposite things: one of them errs, or the question is unclear."""
    apart = "abs(assumeNotNull(right_) - assumeNotNull(verdict))"
    condition = f"isNotNull(right_) AND isNotNull(verdict) AND {apart} > 0.5"
    rows = calls_judged(client, question)
    return _listed(
        client, question, rows, "disagreement", apart, condition, "people and the judge are apart by", apart, limit
    )


def _unsure_verdicts(client: Client, question: Question, limit: int) -> list[ToLabel]:
    """Where the judge's score is near ½, and nobody has said what it is."""
    near = "1 - abs(2 * assumeNotNull(verdict) - 1)"
    condition = f"isNull(right_) AND isNotNull(verdict) AND {near} > 0.2"
    rows = calls_judged(client, question)
    return _listed(client, question, rows, "unsure", near, condition, "the judge's score is", "verdict", limit)


_FIND: Final = {
    "interval": _for_interval,
    "refusal": _unsure_refusals,
    "disagreement": _disagreements,
    "unsure": _unsure_verdicts,
}


def _listed(
    client: Client,
    question: Question,
    rows: str,
    kind: str,
    value: str,
    condition: str,
    words: str,
    number: str,
    limit: int,
) -> list[ToLabel]:
    where, parameters = where_sql(question.where)
    # What was labelled from this queue before is not in it again.
    done = f"trace_id NOT IN (SELECT trace_id FROM evaluations WHERE name = '{_SEND_AS[kind]}' AND source = 'human')"
    if kind in ("disagreement", "unsure"):
        where = f"{where} AND {done}"
    found = client.query(
        f"SELECT {_columns()}, toFloat64({value}) AS informative, toFloat64(assumeNotNull({number})) AS told FROM {rows}"
        f" WHERE {where} AND {condition} ORDER BY informative DESC, {_LOT} LIMIT {limit}",
        parameters=parameters,
    ).result_rows
    return [_to_label(call, kind, informative, f"{words} {told:.2g}") for *call, informative, told in found]


def _columns() -> str:
    return (
        "trace_id, span_id, timestamp, toString(service), toString(model),"
        f" leftUTF8(prompt, {EXCERPT}), leftUTF8(completion, {EXCERPT})"
    )


def _to_label(call: Sequence[Any], kind: str, value: float, why: str) -> ToLabel:
    trace_id, span_id, timestamp, service, model, prompt, completion = call
    return ToLabel(
        trace_id=trace_id,
        span_id=span_id,
        timestamp=timestamp,
        service=service,
        model=model,
        kind=kind,
        send_as=_SEND_AS[kind],
        value=float(value),
        why=why,
        prompt=prompt,
        completion=completion,
    )
