"""Costs, as the job `cost` wrote them: by the hour where the hour is enough, else by the call.

A question whose filter and split are columns of `cost_results` is answered from there for the whole hours of its window,
and from `call_costs` for the rest. What nobody used of a machine (`idle`) is known by the hour: an hour that the window
cuts counts by the minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from monitor.kpis.dimensions import DIMENSIONS, WHERE_KEYS, where_sql
from monitor.kpis.hours import Hours, State, periods
from monitor.kpis.sources.outcomes import good_rows
from monitor.kpis.sources.question import Question, Source, between, group_by, select_list
from monitor.kpis.units import UNIT_KEYS, sampled, unit_sql
from monitor.store import Client

NANO: Final = 10**9
HOUR_NS: Final = 3600 * NANO
SESSIONS_SINCE: Final = "sessions_since"
SESSION_COSTS_HOURS: Final = Hours(
    name="session_costs",
    table="session_costs",
    rule="1",
    keys=("bucket", "unit", *UNIT_KEYS),
    dimensions=UNIT_KEYS,
    columns={},
    column="hour",
)
HISTORY: Final = timedelta(days=57)  # eight whole weeks before the hour that is open
HOURLY: Final = (
    "service", "environment", "deployment", "pricing", "region", "node", "provider", "model", "variant", "release",
)  # fmt: skip
_OF_A_NODE: Final = (*HOURLY, "gpu")
_TRUTH: Final = ("stream", "cancelled", "simulated")
_SUMS: Final = (
    "requests", "calls", "unpriced", "unpriced_calls", "weight", "tokens", "ww", "wwcc", "wwc", "wwct", "wwtt", "sampled",
)  # fmt: skip


def currency_of(client: Client) -> str:
    """Code of the currency that costs are told in."""
    code = client.query("SELECT any(currency) FROM cost_results WHERE currency != ''").result_rows[0][0]
    return str(code) or "USD"


def costs_sql(question: Question) -> str:
    """Rows with the dimensions of the question, the sums of `cost_results`, and `cost`, `kind`, `currency`."""
    names = [*dict.fromkeys([*question.by, *question.where])]
    parts = []
    whole = _whole_hours(question) if set(names) <= set(HOURLY) else None
    rest = [(question.start_ns, question.end_ns)]
    if whole is not None:
        first, last = whole
        parts.append(_by_hour(names, first, last))
        rest = [(question.start_ns, first), (last, question.end_ns)]
    for start_ns, end_ns in rest:
        if start_ns < end_ns:
            parts += [_by_call(names, start_ns, end_ns), _idle_minutes(names, start_ns, end_ns)]
    return f"({' UNION ALL '.join(parts)})"


def _whole_hours(question: Question) -> tuple[int, int] | None:
    first = -(-question.start_ns // HOUR_NS) * HOUR_NS
    last = question.end_ns // HOUR_NS * HOUR_NS
    # Rows of an hour cannot be cut into steps.
    fits = not question.step_ns or (question.step_ns % HOUR_NS == 0 and question.start_ns == first)
    return (first, last) if first < last and fits else None


def _by_hour(names: list[str], start_ns: int, end_ns: int) -> str:
    columns = ", ".join([*names, *_SUMS])
    return f"""SELECT toDateTime64(hour, 9, 'UTC') AS timestamp, {columns}, cost / {NANO} AS cost, kind, currency
        FROM cost_results FINAL WHERE {_hours(start_ns, end_ns)}"""


def _by_call(names: list[str], start_ns: int, end_ns: int) -> str:
    w, known, t = (
        "sample_weight",
        "isNotNull(call_costs.cost)",
        "toFloat64(ifNull(input_tokens, 0) + ifNull(output_tokens, 0))",
    )
    c = f"(ifNull(call_costs.cost, 0) / {NANO})"
    sums = {
        "requests": "toUInt64(1)", "calls": w, "unpriced": f"toUInt64(NOT {known})", "unpriced_calls": f"{w} * NOT {known}",
        "weight": f"{w} * {known}", "tokens": f"{w} * {t} * {known}", "ww": f"{w} * {w} * {known}", "wwcc": f"{c} * {c}",
        "wwc": f"{c} * {w}", "wwct": f"{c} * {w} * {t}", "wwtt": f"{w} * {w} * {t} * {t} * {known}",
        "sampled": f"if(source = 'ledger', 0, {c} * {c} * (1 - 1 / {w}))",
    }  # fmt: skip
    columns = ", ".join([*names, *(f"{sums[name]} AS {name}" for name in _SUMS)])
    return f"""SELECT toDateTime64(timestamp, 9, 'UTC') AS timestamp, {columns}, {c} AS cost, kind, currency
        FROM call_costs FINAL WHERE {between(start_ns, end_ns).replace("timestamp", "call_costs.timestamp")}"""


def _idle_minutes(names: list[str], start_ns: int, end_ns: int) -> str:
    columns = ", ".join([*(_of_node(name) for name in names), *(f"0 AS {name}" for name in _SUMS)])
    inside = between(start_ns, end_ns)
    # An hour that was not over when it was reckoned has cost nothing yet in the minutes to come; `version` is that time, in µs.
    passed = (
        "toUInt8(greatest(1, least(60, intDiv(intDiv(toInt64(version), 1000000) - toUnixTimestamp(hour) + 59, 60))))"
    )
    return f"""SELECT timestamp, {columns}, cost, kind, currency FROM
        (SELECT *, toDateTime64(hour, 9, 'UTC') + toIntervalMinute(minute) AS timestamp, node_hours.idle / {NANO} / {passed} AS cost,
            'idle' AS kind FROM node_hours FINAL ARRAY JOIN range({passed}) AS minute
        WHERE {_hours(start_ns // HOUR_NS * HOUR_NS, end_ns)}) WHERE {inside}"""


def _of_node(name: str) -> str:
    if name in _OF_A_NODE:
        return name
    return f"CAST(NULL AS Nullable(Bool)) AS {name}" if name in _TRUTH else f"'' AS {name}"


def _hours(start_ns: int, end_ns: int) -> str:
    return f"(hour >= toDateTime({start_ns // NANO}, 'UTC') AND hour < toDateTime({-(-end_ns // NANO)}, 'UTC'))"


def _costs(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    condition, _ = where_sql(question.where)
    select = select_list(question.key_columns, ingredients)
    return f"SELECT {select} FROM {costs_sql(question)} WHERE {condition}{group_by(question)}"


def _sessions(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """One row per session, or user, of each group and step."""
    condition, _ = where_sql(question.where)
    found = sampled(client, question, SESSION_COSTS_HOURS, state=_session_state(client))
    keys = ", ".join([*question.keys, "id"])
    unit = unit_sql("session_id")
    rest, own, share = [(question.start_ns, question.end_ns)], "1", 1.0
    pieces = []
    if found is not None:
        rest = [(question.start_ns, found.first * NANO), (found.last * NANO, question.end_ns)]
        own, share = found.of_units(unit), found.share
        sums = ("requests", "cost", "unpriced", "weight_max", "currency")
        columns = ", ".join(["toDateTime64(hour, 9, 'UTC') AS timestamp", "unit", *UNIT_KEYS, *sums])
        inside = f"bucket < {found.buckets} AND {periods(found.first, found.last, 'hour')}"
        rows = f"SELECT {columns} FROM session_costs FINAL WHERE {inside}"
        select = ", ".join(
            [*question.key_columns, "unit AS id", "cost", "unpriced", "requests", "weight_max", "currency"]
        )
        pieces.append(f"SELECT {select} FROM ({rows}) WHERE {condition}")
    for start_ns, end_ns in rest:
        if start_ns < end_ns:
            select = ", ".join([*question.key_columns, f"{unit} AS id"])
            pieces.append(f"""SELECT {select}, ifNull(call_costs.cost, 0) AS cost, toUInt64(isNull(call_costs.cost)) AS unpriced,
                toUInt64(1) AS requests, sample_weight AS weight_max, currency
                FROM call_costs FINAL WHERE session_id != '' AND {between(start_ns, end_ns)} AND {own} AND {condition}""")
    rows = f"""SELECT {keys}, sum(part.cost) / {NANO} AS cost, sum(part.unpriced) AS unpriced, sum(part.requests) AS requests,
        max(part.weight_max) AS weight_max, any(part.currency) AS currency, {share!r} AS unit_share
        FROM ({" UNION ALL ".join(pieces)}) AS part GROUP BY {keys}"""
    return f"SELECT {select_list(question.keys, ingredients)} FROM ({rows}){group_by(question)}"


def _session_state(client: Client) -> State | None:
    """From when to when `session_costs` has all hours."""
    rows = client.query(
        f"SELECT name, value FROM cost_state FINAL WHERE name IN ('{SESSIONS_SINCE}', 'known_until')"
    ).result_rows
    known = {str(name): int(value) for name, value in rows}
    if len(known) < 2:
        return None
    return State(rule=SESSION_COSTS_HOURS.rule, since=known[SESSIONS_SINCE], until=known["known_until"], seen_ms=0)


def _good(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """Costs, and beside them the requests that were good."""
    condition, _ = where_sql(question.where)
    counted = {"requests": "count()", "good": "sumIf(sample_weight, hit)", "good_n": "countIf(hit)"}
    good = f"""SELECT {select_list(question.key_columns, counted)} FROM {good_rows(client, question)}
        WHERE {condition}{group_by(question)}"""
    return good_costs_select(question, good, ingredients)


def good_costs_select(question: Question, good: str, ingredients: Mapping[str, str]) -> str:
    """The question's answer from a SELECT of its keys and `requests, good, good_n`."""
    condition, _ = where_sql(question.where)
    keys = "".join(f"{key}, " for key in question.keys)
    sums = {
        "requests": "0",
        "good": "0",
        "good_n": "0",
        "cost": "sum(cost)",
        "unpriced": "sum(unpriced)",
        "currency": "any(currency)",
    }
    calls = f"SELECT {keys}requests, good, good_n, 0 AS cost, 0 AS unpriced, '' AS currency FROM ({good})"
    spent = f"SELECT {select_list(question.key_columns, sums)} FROM {costs_sql(question)} WHERE {condition}{group_by(question)}"
    return f"SELECT {select_list(question.keys, ingredients)} FROM ({calls} UNION ALL {spent}){group_by(question)}"


def _node_hours(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    condition, _ = where_sql(question.where)
    rows = f"""(SELECT *, toDateTime64(hour, 9, 'UTC') AS timestamp FROM node_hours FINAL
        WHERE {_hours(question.start_ns, question.end_ns)})"""
    inside = between(question.start_ns, question.end_ns)
    select = select_list(question.key_columns, ingredients)
    return f"SELECT {select} FROM {rows} WHERE {inside} AND {condition}{group_by(question)}"


def month_of(moment: datetime) -> tuple[datetime, datetime]:
    """The calendar month (UTC) that a moment is in."""
    start = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return start, (start + timedelta(days=32)).replace(day=1)


def _month(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """Costs by the hour of the month that the window ends in, and of the weeks before."""
    condition, _ = where_sql(question.where)
    last = datetime.fromtimestamp((question.end_ns - 1) // NANO, UTC)
    start, end = (int(each.timestamp()) for each in month_of(last))
    known = "(SELECT max(value) FROM cost_state FINAL WHERE name = 'known_until')"
    until = f"least(toInt64({question.end_ns // HOUR_NS * 3600}), toInt64({known}))"
    since_ns = (start - int(HISTORY.total_seconds())) * NANO
    # A series has its one value in the last step, which the window ends in.
    step = [f"{(question.end_ns - question.start_ns - 1) // question.step_ns} AS step"] if question.step_ns else []
    groups = question.key_columns[: len(question.by)]
    rows = f"""SELECT {", ".join([*groups, *step, "toInt64(toUnixTimestamp(hour)) AS hour_s"])},
        sum(cost_results.cost) / {NANO} AS cost, any(currency) AS currency
        FROM cost_results FINAL WHERE {_hours(since_ns, question.end_ns)} AND {condition}
        GROUP BY {", ".join([*question.keys, "hour_s"])}"""
    stated = {"month_start": str(start), "month_end": str(end), "known_until": until}
    return f"SELECT {select_list(question.keys, {**stated, **ingredients})} FROM ({rows}){group_by(question)}"


def _budgets(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    condition, _ = where_sql(question.where)
    last = datetime.fromtimestamp((question.end_ns - 1) // NANO, UTC)
    month = month_of(last)[0]
    rows = f"(SELECT *, toDateTime64(at, 9, 'UTC') AS timestamp FROM cost_budgets FINAL WHERE month = toDate('{month:%Y-%m-%d}'))"
    keys = question.key_columns[: len(question.by)]
    step = [f"{(question.end_ns - question.start_ns - 1) // question.step_ns} AS step"] if question.step_ns else []
    return f"SELECT {select_list([*keys, *step], ingredients)} FROM {rows} WHERE {condition}{group_by(question)}"


COSTS: Final = Source(
    name="costs",
    rows="costs of calls (`call_costs`), and by the hour (`cost_results`) those of machines that nobody used",
    nothing="no cost in this window; has the job `cost` run since? (`monitor jobs run cost`)",
    dimensions=DIMENSIONS,
    where_keys=WHERE_KEYS,
    population={"calls__n": "count()"},
    build=_costs,
)
SESSION_COSTS: Final = Source(
    name="session_costs",
    rows="sessions (`session_id`): one row for each, with what its calls in the window cost",
    nothing="no costed call in this window is of a session",
    dimensions=DIMENSIONS,
    where_keys=WHERE_KEYS,
    population={"calls__n": "count()"},
    build=_sessions,
)
GOOD_COSTS: Final = Source(
    name="good_costs",
    rows="costs, beside the calls that were good",
    nothing="no cost and no call in this window",
    dimensions=DIMENSIONS,
    where_keys=WHERE_KEYS,
    population={"calls__n": "count()"},
    build=_good,
)
NODE_HOURS: Final = Source(
    name="node_hours",
    rows="the ledger (`node_hours`): one row for each node and hour that began in the window",
    nothing="no node with a rate (`fleet`) in this window",
    dimensions=_OF_A_NODE,
    where_keys=_OF_A_NODE,
    population={"calls__n": "count()"},
    build=_node_hours,
)
MONTH: Final = Source(
    name="month_costs",
    rows="costs by the hour (`cost_results`) of the month that the window ends in, and of eight weeks before it",
    nothing="no cost in this month or the eight weeks before it",
    dimensions=HOURLY,
    where_keys=HOURLY,
    population={"calls__n": "count()"},
    build=_month,
)
BUDGETS: Final = Source(
    name="budgets",
    rows="budgets (`cost_budgets`) of the month that the window ends in; they split by what their filters say",
    nothing="no budget is configured (`budgets`), or the job `cost` has not run this month",
    dimensions=HOURLY,
    where_keys=HOURLY,
    population={"calls__n": "count()"},
    build=_budgets,
)
SOURCES: Final = (COSTS, SESSION_COSTS, GOOD_COSTS, NODE_HOURS, MONTH, BUDGETS)
