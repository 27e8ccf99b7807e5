"""One variant (release, node, arm, time, …) against another: what `monitor.stats.compare` needs, read from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal

from monitor.errors import BadInput
from monitor.kpis.dimensions import Where, check_by, check_where, where_sql
from monitor.kpis.estimators import POPULATION, Measure
from monitor.kpis.families.accuracy import JUDGED as BY_JUDGE
from monitor.kpis.families.accuracy import LABELLED, RIGHT, SAID_RIGHT
from monitor.kpis.latency_map import measure_of
from monitor.kpis.source_hours import summed_select
from monitor.kpis.sources import Question, Source
from monitor.kpis.sources.balanced import read_log_sums, wait_sums
from monitor.kpis.sources.calls import CALLS
from monitor.kpis.sources.cost import costs_sql
from monitor.kpis.sources.judged import JUDGED
from monitor.kpis.sources.question import select_list
from monitor.kpis.window import Window
from monitor.stats.compare import MARGIN, Arm, Comparison, ShareSums, ValueSums, compare_arms
from monitor.stats.hot_nodes import LogSums
from monitor.store import Client

Judged = Literal["labels", "judge"]
Priced = Literal["ledger", "reported"]
_EVERYTHING: Final[Where] = {}
_COST: Final = Measure(name="cost", value="cost_usd")
# Who judges -> the judged calls, and the right ones among them.
_WORDS: Final[Mapping[Judged, tuple[Measure, Measure]]] = {
    "labels": (LABELLED, RIGHT),
    "judge": (BY_JUDGE, SAID_RIGHT),
}
# Fewer labels than this on a side say less than a judge does.
_LABELS_MIN: Final = 30


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side: calls begun in the window to which the filter applies."""

    name: str
    window: Window
    where: Where = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A comparison with what it was made from."""

    dimension: str
    a: Arm
    b: Arm
    latency: str
    judged_by: Judged
    priced_by: Priced
    start: datetime
    end: datetime
    found: Comparison


def compare(
    client: Client,
    window: Window,
    dimension: str,
    a: str,
    b: str,
    *,
    margin: float = MARGIN,
    latency: str = "e2e",
    where: Where = _EVERYTHING,
) -> Compared:
    """Is `b` as good as `a`, and is it faster or cheaper?

    Parameters
    ----------
    client : Client
    window : Window
        Of the calls' begin.
    dimension : str
        What tells the two apart, such as `variant`.
    a, b : str
        Its values: the accepted one, and the candidate.
    margin : float
        Loss in the share of right answers that is accepted; 0.02 is two points.
    latency : str
        Which one: `e2e`, `ttft`, `tpot`, …
    where : mapping
        Filter for both.

    Returns
    -------
    Compared
        Quality is by people's labels and ground truth if both sides have 30 of them, else by judges' verdicts if those are
        more. Cost is that of each call as the job `cost` knows it (machines' idle time is not in it), or, where it knows none
        of a side, what emitters reported (`cost_usd`). All are of calls as they came: where the two do not serve the same mix of
        questions, so much of a difference may be the mix.

    Raises
    ------
    BadInput
        If the dimension, a filter or the margin does not fit, or a and b are the same.
    """
    (name,) = check_by([dimension])
    if a == b:
        raise BadInput(f"{dimension} `{a}` cannot be compared with itself; give two values")
    sides = (Side(name=each, window=window, where={**where, name: (each,)}) for each in (a, b))
    return compare_sides(client, *sides, margin=margin, latency=latency, dimension=dimension)


def compare_sides(
    client: Client, a: Side, b: Side, *, margin: float = MARGIN, latency: str = "e2e", dimension: str = ""
) -> Compared:
    """The same for any two groups or times: is `b` as good as `a`, and is it faster or cheaper?

    Raises
    ------
    BadInput
        If a filter, the latency or the margin does not fit, or both sides have the same calls.
    """
    if not 0 < margin < 1:
        raise BadInput(f"the margin is a share between 0 and 1, such as 0.02 for two points, not {margin:g}")
    measure = measure_of(latency)
    questions = [
        Question(start_ns=s.window.start_ns, end_ns=s.window.end_ns, where=check_where(s.where), groups_max=1)
        for s in (a, b)
    ]
    if questions[0] == questions[1]:
        raise BadInput("both sides have the same calls; give two groups, or two times")
    waits = [read_log_sums(_read(client, question, *wait_sums(latency, measure))) for question in questions]
    money = [_costs(client, question) for question in questions]
    priced: Priced = "ledger" if all(each.get("cost__n") for each in money) else "reported"
    if priced == "reported":
        money = [_read(client, question, CALLS, _reported_sums()) for question in questions]
    words = dict(POPULATION)
    for of, hit in _WORDS.values():
        words |= {**of.pick("n", "w", "ww"), **hit.pick("n", "w", "ww")}
    judged = [_read(client, question, JUDGED, words) for question in questions]
    by = _by_whom(judged)
    first, second = (_arm(s.name, w, m, j, by) for s, w, m, j in zip((a, b), waits, money, judged, strict=True))
    found = compare_arms(first, second, margin=margin)
    if by == "judge" and found.quality != "insufficient":
        told = replace(found.quality_difference, note="by judges' verdicts; there are too few labels")
        found = replace(found, quality_difference=told)
    return Compared(
        dimension=dimension,
        a=first,
        b=second,
        latency=latency,
        judged_by=by,
        priced_by=priced,
        start=min(a.window.start, b.window.start),
        end=max(a.window.end, b.window.end),
        found=found,
    )


def _read(client: Client, question: Question, source: Source, ingredients: Mapping[str, str]) -> dict[str, Any]:
    sql = summed_select(client, source, question, ingredients)
    _, parameters = where_sql(question.where)
    return next((dict(row) for row in client.query(sql, parameters=parameters).named_results()), {})


def _costs(client: Client, question: Question) -> dict[str, Any]:
    """Sums over what calls cost; a row stands for `requests` calls that are stored, and `cost` is that of all it stands for."""
    condition, parameters = where_sql(question.where)
    sums = {
        "n": "sum(requests) - sum(unpriced)", "w": "sum(weight)", "ww": "sum(ww)", "wx": "sum(cost)", "wwx": "sum(wwc)",
        "wwxx": "sum(wwcc)",
    }  # fmt: skip
    columns = select_list([], {f"cost__{name}": value for name, value in sums.items()})
    rows = client.query(
        f"SELECT {columns} FROM {costs_sql(question)} WHERE kind != 'idle' AND {condition}", parameters=parameters
    )
    return next((dict(row) for row in rows.named_results()), {})


def _reported_sums() -> dict[str, str]:
    return {key: sql for key, sql in _COST.sums.items() if key.removeprefix("cost__") in ValueSums.__dataclass_fields__}


def _shares(judged: Mapping[str, Any], by: Judged) -> ShareSums:
    of, hit = (measure.name for measure in _WORDS[by])
    return ShareSums(
        n=int(judged.get(f"{of}__n", 0)),
        w=judged.get(f"{of}__w", 0.0),
        ww=judged.get(f"{of}__ww", 0.0),
        hits=judged.get(f"{hit}__w", 0.0),
        hits_ww=judged.get(f"{hit}__ww", 0.0),
    )


def _by_whom(judged: Sequence[Mapping[str, Any]]) -> Judged:
    fewest = {by: min(_shares(each, by).n for each in judged) for by in _WORDS}
    return "judge" if fewest["labels"] < _LABELS_MIN and fewest["judge"] > fewest["labels"] else "labels"


def _arm(name: str, waits: LogSums, money: Mapping[str, Any], judged: Mapping[str, Any], by: Judged) -> Arm:
    cost = {key: money.get(f"cost__{key}", 0) for key in ValueSums.__dataclass_fields__}
    return Arm(name=name, quality=_shares(judged, by), latency=waits, cost=ValueSums(**cost))
