"""Calls worth putting into a dataset, and why: badly rated, judged wrong, behind an alert, typical of a drift."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from monitor.drift.counting import Bins, bin_sql, count_windows, counts_of
from monitor.drift.features import find_features
from monitor.errors import BadInput
from monitor.iterate.review import ORDERS, quoted, review_queue
from monitor.kpis import Window
from monitor.kpis.dimensions import Where, check_where, refuse, where_sql
from monitor.kpis.latency_map import LATENCIES, measure_of
from monitor.kpis.sources.judged import NO
from monitor.store import Client
from monitor.store.calls import calls_source
from monitor.store.judged import judged_source

SOURCES: Final = ("alert", "rating", "score", "drift", "review")
CANDIDATES_MAX: Final = 500
_EVERYTHING: Final[Where] = {}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CALL: Final = (
    "trace_id, span_id, toUnixTimestamp64Micro(timestamp) AS at, toString(service) AS of, toString(model) AS by"
)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A call and the reason to look at it."""

    trace_id: str
    span_id: str
    called_at: datetime
    service: str
    model: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is looked for beside window and filter; each source reads its own.

    Parameters
    ----------
    kpi : str
        For `alert`: the KPI of the rule, such as `latency.ttft.p95`.
    name : str
        For `score` and `review`: what was judged.
    below : float
        For `score`: scores under it; labels that say no count as well.
    feature : str
        For `drift`: as `monitor drift` names it.
    reference : Window, optional
        For `drift`: what it is compared with; the equally long stretch before the window, if not given.
    order : {"estimate", "disagree", "uncertain"}
        For `review`, see `monitor.iterate.review`.
    """

    kpi: str = ""
    name: str = "correct"
    below: float = 0.5
    feature: str = ""
    reference: Window | None = None
    order: str = "estimate"


def find_candidates(
    client: Client,
    source: str,
    window: Window,
    *,
    where: Where = _EVERYTHING,
    wanted: Wanted | None = None,
    limit: int = 50,
) -> list[Candidate]:
    """Calls begun in the window that the source has something to say of, the most telling first.

    Parameters
    ----------
    client : Client
    source : str
        One of `SOURCES`: behind an `alert`, a bad `rating`, a low `score`, typical of a `drift`, of the queue for `review`.
    limit : int
        How many at most, 1 to 500.

    Raises
    ------
    BadInput
        If the source or something that it needs is unknown.
    """
    if source not in SOURCES:
        refuse("source", source, SOURCES)
    if not 1 <= limit <= CANDIDATES_MAX:
        raise BadInput(f"between 1 and {CANDIDATES_MAX} calls are given at once, not {limit}")
    asked, conditions = wanted or Wanted(), check_where(where)
    if source == "review":
        if asked.order not in ORDERS:
            refuse("order", asked.order, ORDERS)
        rows = review_queue(client, window, name=asked.name, order=asked.order, where=conditions, limit=limit)
    else:
        rows = _FIND[source](client, window, conditions, asked, limit)
    return [
        Candidate(
            trace_id=trace_id,
            span_id=span_id,
            called_at=_EPOCH + timedelta(microseconds=int(at)),
            service=service,
            model=model,
            why=why,
        )
        for trace_id, span_id, at, service, model, why in rows
    ]


Rows = list[tuple[str, str, int, str, str, str]]
Conditions = Mapping[str, tuple[str, ...]]


def _rated(client: Client, window: Window, where: Conditions, wanted: Wanted, limit: int) -> Rows:
    """Thumbs down, reports and answers asked for again, the newest first."""
    source = judged_source(
        client,
        window.start_ns,
        window.end_ns,
        table="engagement_events",
        condition="(kind = 'thumbs' AND value = 'down') OR kind IN ('report', 'regenerate')",
        columns={
            "acts": "arrayStringConcat(arraySort(groupUniqArray(if(kind = 'thumbs', 'thumbs down', toString(kind)))), ', ')",
            "remark": "anyIf(substringUTF8(comment, 1, 200), comment != '')",
        },
        every_call=False,
    )
    why = "if(remark = '', acts, concat(acts, ': ', remark))"
    return _rows(client, source, where, why, "timestamp DESC, span_id", limit)


def _scored(client: Client, window: Window, where: Conditions, wanted: Wanted, limit: int) -> Rows:
    """Low scores and labels that say no, the lowest first; the newest of each kind of judge counts."""
    no = ", ".join(f"'{word}'" for word in NO)
    low = f"if(lower(label) IN ({no}), 0., score)"
    source = judged_source(
        client,
        window.start_ns,
        window.end_ns,
        condition=f"name = {quoted(wanted.name)} AND error_type = '' AND isNotNull({low})",
        columns={
            "low": f"argMax(assumeNotNull({low}), timestamp)",
            "judge": "argMax(toString(source), timestamp)",
            "said": "argMax(substringUTF8(explanation, 1, 200), timestamp)",
        },
        every_call=False,
    )
    why = f"concat({quoted(wanted.name)}, ' ', toString(round(low, 3)), ' by ', judge, if(said = '', '', concat(': ', said)))"
    return _rows(
        client, source, {**where}, why, "low, timestamp DESC, span_id", limit, f"low < {float(wanted.below)!r}"
    )


def _behind_alert(client: Client, window: Window, where: Conditions, wanted: Wanted, limit: int) -> Rows:
    """The calls of an alert's group and time that say most by its KPI: the slowest, the failed, the dearest."""
    source = calls_source(client, window.start_ns, window.end_ns)
    family, _, rest = wanted.kpi.partition(".")
    first = rest.split(".")[0]
    if family == "latency" and first in LATENCIES:
        measure = measure_of(first)
        why = f"concat('{first} ', toString(round({measure.value}, 3)), ' s')"
        return _rows(client, source, where, why, f"{measure.value} DESC, span_id", limit, measure.among)
    if wanted.kpi in ("traffic.error_rate", "traffic.errors"):
        return _rows(
            client, source, where, "toString(error_type)", "timestamp DESC, span_id", limit, "error_type != ''"
        )
    if family == "cost":
        why = "concat('cost ', toString(round(cost_usd, 6)))"
        return _rows(client, source, where, why, "cost_usd DESC, span_id", limit, "isNotNull(cost_usd)")
    if family == "accuracy":
        return _scored(client, window, where, wanted, limit)
    if family in ("engagement", "safety"):
        return _rated(client, window, where, wanted, limit)
    # No call by itself is the reason: some of them, the same ones each time.
    return _rows(
        client, source, where, quoted(f"in the time of {wanted.kpi or 'the alert'}"), "cityHash64(span_id)", limit
    )


def _drifted(client: Client, window: Window, where: Conditions, wanted: Wanted, limit: int) -> Rows:
    """Calls in the bin of the feature that has gained most, in shares, against the reference."""
    if not wanted.feature:
        raise BadInput("say which feature has drifted, such as output_tokens or cohort.topic")
    reference = wanted.reference or Window(window.start - (window.end - window.start), window.start)
    features = find_features(client, reference, [wanted.feature], where)
    counted = count_windows(client, reference, window, features, where, None)
    if not counted:
        raise BadInput(f"no call of the reference window has `{wanted.feature}`; give another reference")
    bins, own, (other,) = counted[0]
    if not other.counts.sum() or not own.counts.sum():
        return []
    gains = other.counts / other.counts.sum() - own.counts / own.counts.sum()
    if bins.feature.number:
        # Fifty bins are too fine to tell of: the tenth that gained most.
        coarse = counts_of(bins, own, other)
        shares = coarse.current / coarse.current.sum() - coarse.reference / coarse.reference.sum()
        best = int(np.argmax(shares))
        gain, name = float(shares[best]), str(coarse.names[best])
        condition = f"{bin_sql(bins, 0)} IN ({', '.join(map(str, _fine(bins, own.counts, other.counts, best, coarse.reference)))})"
    else:
        best = int(np.argmax(gains))
        gain, name = float(gains[best]), [*bins.categories, "other"][best]
        condition = f"{bin_sql(bins, 0)} = {best}"
    if gain <= 0:
        return []
    why = quoted(f"{wanted.feature} {name}: {gain:+.1%} of calls")
    parameters = {} if bins.feature.number else {"categories_0": list(bins.categories)}
    source = calls_source(client, window.start_ns, window.end_ns)
    return _rows(client, source, where, why, "cityHash64(span_id)", limit, condition, parameters)


def _fine(bins: Bins, own: Any, other: Any, best: int, coarse: Any) -> list[int]:
    """Which fine bins the coarse one is made of: as many as hold its rows of the reference."""
    ends = np.cumsum(coarse)
    low = float(ends[best - 1]) if best else 0.0
    reached = np.cumsum(own)
    inside = (reached > low + 1e-9) & (reached <= ends[best] + 1e-9) if coarse[best] else reached < 0
    return [int(at) for at in np.flatnonzero(inside)] or [int(np.argmax(other - own))]


_FIND: Final[Mapping[str, Callable[[Client, Window, Conditions, Wanted, int], Rows]]] = {
    "alert": _behind_alert,
    "rating": _rated,
    "score": _scored,
    "drift": _drifted,
}


def _rows(
    client: Client,
    source: str,
    where: Conditions,
    why: str,
    order: str,
    limit: int,
    condition: str = "1",
    more: Mapping[str, Any] | None = None,
) -> Rows:
    filtered, parameters = where_sql(where)
    query = f"SELECT {_CALL}, {why} AS why FROM {source} WHERE {filtered} AND ({condition}) ORDER BY {order} LIMIT {int(limit)}"
    rows = client.query(query, parameters={**parameters, **(more or {})}).result_rows
    return [(str(t), str(s), int(at), str(service), str(model), str(w)) for t, s, at, service, model, w in rows]
