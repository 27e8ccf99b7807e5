"""Which calls to label next.

`estimate`: so that the estimate of accuracy gains most. It is stratified by the hour (`accuracy.estimated`), with the variance
Σ W_h² S_h² / n_h: W_h is the hour's share of the calls, n_h its labels, S_h² = d(1 − d) the variance of what a judge's verdict
leaves open, d how often people contradict the judge there (where no judge speaks: how often the answer is wrong), drawn
towards the rate d̄ of all hours as if two labels more had it: d = (k + 2 d̄)/(m + 2). One label more in hour h lowers the variance by

    W_h² S_h² (1/(n_h + 1) − 1/(n_h + 2)),

with one label added to each hour, so that none is infinitely urgent. Labels go, one by one, where that is most (Neyman's
allocation, step by step). Within an hour calls come in the order of a hash, which knows nothing of them: a label is only worth
something for the estimate if chance chose the call.

`disagree`: people and judge contradict each other. `uncertain`: the judge's score is nearest to 0.5. These find mistakes,
of the judge too, and are no fair sample: their labels should go under a name of their own, not `correct`.

References
----------
J. Neyman (1934), On the two different aspects of the representative method. W. G. Cochran (1977), Sampling Techniques, 5.5.
A. Fisch et al. (2024), Stratified prediction-powered inference.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from monitor.kpis import Window
from monitor.kpis.dimensions import where_sql
from monitor.kpis.sources.judged import NO, YES
from monitor.store import Client
from monitor.store.judged import judged_source

ORDERS: Final = ("estimate", "disagree", "uncertain")
PRIOR_LABELS: Final = 2.0
_HOUR: Final = "toInt64(intDiv(toUnixTimestamp(timestamp), 3600))"
Rows = list[tuple[str, str, int, str, str, str]]


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """Calls of an hour.

    Parameters
    ----------
    hour : int
        Hours since 1970.
    calls : float
        How many there were, sampled ones with their weight.
    labels : int
        How many have a label of people or ground truth.
    judged, contradicted : int
        Labelled calls that tell how far the judge can be relied on, and those that contradict it.
    open : int
        Calls without a label that can still be looked at.
    """

    hour: int
    calls: float
    labels: int
    judged: int
    contradicted: int
    open: int


def allocate(strata: Sequence[Stratum], labels: int) -> dict[int, int]:
    """Hour -> how many of the next labels it should get; see the module.

    Examples
    --------
    Of two hours alike, the one without labels comes first:

    >>> allocate([Stratum(hour=1, calls=10, labels=5, judged=0, contradicted=0, open=5),
    ...           Stratum(hour=2, calls=10, labels=0, judged=0, contradicted=0, open=10)], 3)
    {2: 3}
    """
    total = sum(stratum.calls for stratum in strata)
    judged, contradicted = (sum(getattr(each, name) for each in strata) for name in ("judged", "contradicted"))
    pooled = (contradicted + 1) / (judged + 2)
    given = dict.fromkeys((stratum.hour for stratum in strata), 0)
    worth = {}
    for stratum in strata:
        rate = (stratum.contradicted + PRIOR_LABELS * pooled) / (stratum.judged + PRIOR_LABELS)
        worth[stratum.hour] = (stratum.calls / total) ** 2 * rate * (1 - rate)

    def gain(stratum: Stratum) -> float:
        n = stratum.labels + given[stratum.hour] + 1
        return float(worth[stratum.hour] * (1 / n - 1 / (n + 1)))

    heap = [(-gain(stratum), stratum.hour, stratum) for stratum in strata if stratum.open]
    heapq.heapify(heap)
    for _ in range(labels):
        if not heap:
            break
        _, hour, stratum = heapq.heappop(heap)
        given[hour] += 1
        if given[hour] < stratum.open:
            heapq.heappush(heap, (-gain(stratum), hour, stratum))
    return {hour: count for hour, count in given.items() if count}


def review_queue(
    client: Client, window: Window, *, name: str, order: str, where: Mapping[str, tuple[str, ...]], limit: int
) -> Rows:
    """Calls to label next, as rows of trace, span, begin in µs, service, model, why; without those that were skipped."""
    condition, parameters = where_sql(where)
    source = _with_verdicts(client, window, name)
    if order == "estimate":
        return _for_estimate(client, source, name, condition, parameters, limit)
    if order == "disagree":
        wanted, sort = (
            "isNotNull(truth) AND isNotNull(verdict) AND (truth >= 0.5) != (verdict >= 0.5)",
            "timestamp DESC",
        )
        why = "concat('people say ', if(truth >= 0.5, 'right', 'wrong'), ', the judge says ', if(verdict >= 0.5, 'right', 'wrong'))"
    else:
        wanted, sort = (
            "labels = 0 AND isNotNull(verdict) AND verdict > 0 AND verdict < 1",
            "abs(verdict - 0.5), timestamp DESC",
        )
        why = "concat('the judge says ', toString(round(verdict, 3)))"
    query = (
        f"SELECT {_CALL}, {why} FROM {source} WHERE {condition} AND {wanted} AND {_not_reviewed(name)}"
        f" ORDER BY {sort}, span_id LIMIT {int(limit)}"
    )
    return [_row(row) for row in client.query(query, parameters=parameters).result_rows]


_CALL: Final = "trace_id, span_id, toUnixTimestamp64Micro(timestamp), toString(service), toString(model)"


def _for_estimate(
    client: Client, source: str, name: str, condition: str, parameters: Mapping[str, Sequence[str]], limit: int
) -> Rows:
    both = "isNotNull(truth) AND isNotNull(verdict)"
    alone = "isNotNull(truth) AND isNull(verdict)"
    open_ = f"labels = 0 AND {_not_reviewed(name)}"
    query = (
        f"SELECT {_HOUR} AS hour, sum(sample_weight), countIf(labels > 0), countIf({both} OR {alone}),"
        f" countIf(({both} AND (truth >= 0.5) != (verdict >= 0.5)) OR ({alone} AND truth < 0.5)), countIf({open_})"
        f" FROM {source} WHERE {condition} GROUP BY hour ORDER BY hour"
    )
    strata = [
        Stratum(hour=h, calls=float(w), labels=n, judged=m, contradicted=k, open=o)
        for h, w, n, m, k, o in client.query(query, parameters=dict(parameters)).result_rows
    ]
    shares = allocate(strata, limit)
    if not shares:
        return []
    wanted = f"transform({_HOUR}, [{', '.join(map(str, shares))}], [{', '.join(map(str, shares.values()))}], 0)"
    query = (
        f"SELECT {_CALL}, {_HOUR} AS hour FROM (SELECT *, {_HOUR} AS its_hour,"
        " row_number() OVER (PARTITION BY its_hour ORDER BY cityHash64(span_id, trace_id)) AS place"
        f" FROM {source} WHERE {condition} AND {open_}) WHERE place <= {wanted} ORDER BY place, hour"
    )
    by_hour = {stratum.hour: stratum for stratum in strata}
    rows = client.query(query, parameters=dict(parameters)).result_rows
    return [(*_row((*row[:5], ""))[:5], _why(by_hour[row[5]])) for row in rows]


def _why(stratum: Stratum) -> str:
    return f"{stratum.labels:,} of its hour's {stratum.calls:,.0f} calls have a label"


def _with_verdicts(client: Client, window: Window, name: str) -> str:
    """Every call with what people and judges say of it: `truth`, `verdict` (0 to 1, or NULL), and its number of labels."""
    yes, no = (", ".join(f"'{word}'" for word in words) for words in (YES, NO))
    unit = "if(score >= 0 AND score <= 1, score, NULL)"
    said = f"multiIf(lower(label) IN ({yes}), 1., lower(label) IN ({no}), 0., {unit})"
    people = "source IN ('ground_truth', 'human')"
    return judged_source(
        client,
        window.start_ns,
        window.end_ns,
        condition=f"name = {quoted(name)} AND error_type = ''",
        columns={
            "labels": f"countIf({people})",
            "truth": f"argMaxIf(tuple({said}), (source = 'ground_truth', timestamp), {people}).1",
            "verdict": f"argMaxIf(tuple({said}), timestamp, source = 'judge').1",
        },
    )


def _not_reviewed(name: str) -> str:
    return (
        "(trace_id, span_id) NOT IN (SELECT trace_id, span_id FROM reviews FINAL"
        f" WHERE name = {quoted(name)} AND state IN ('done', 'skipped'))"
    )


def _row(row: Sequence[object]) -> tuple[str, str, int, str, str, str]:
    trace_id, span_id, at, service, model, why = row
    return str(trace_id), str(span_id), int(str(at)), str(service), str(model), str(why)


def quoted(text: str) -> str:
    """A text as it stands in a statement."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
