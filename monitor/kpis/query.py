"""Ask the store for KPI values: many names, one statement per source (and one more where rows are weighted)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from monitor.errors import BadInput
from monitor.kpis import histogram, quantiles, rolling
from monitor.kpis.dimensions import Where, check_by, check_where, where_sql
from monitor.kpis.estimators import Estimate, Measure, Quantile
from monitor.kpis.kpi import Kpi, KpiValue
from monitor.kpis.objective_counts import counted_select
from monitor.kpis.registry import known, resolve
from monitor.kpis.rolled import rolled_parts, rolled_select
from monitor.kpis.source_hours import hourly_select
from monitor.kpis.sources import SOURCES, Question, Source
from monitor.kpis.window import Window
from monitor.store import Client

if TYPE_CHECKING:
    import pandas as pd

GROUPS_MAX: Final = 100
STEPS_MAX: Final = 5000
_EVERYTHING: Final[Where] = {}
_HOUR_NS: Final = 3600 * 10**9
_DAY_S: Final = 86_400

Row = dict[str, Any]


def evaluate(
    client: Client,
    names: Iterable[str] = (),
    *,
    window: Window,
    by: Sequence[str] = (),
    where: Where = _EVERYTHING,
    intervals: bool = True,
    groups_max: int = GROUPS_MAX,
) -> list[KpiValue]:
    """Values of KPIs over one window.

    Parameters
    ----------
    client : Client
        Of a migrated store, embedded or server.
    names : iterable of str
        KPI names, or the fronts of names (`latency.ttft`); none means all.
    window : Window
        A call belongs to the window in which it began.
    by : sequence of str
        Up to three dimensions to split by.
    where : mapping
        Key -> value or values (any of them).
    intervals : bool
        Whether quantiles get their intervals too; all others cost nothing.
    groups_max : int
        Keep the groups with most rows, and say so in each `note`, if there are more.

    Returns
    -------
    list of KpiValue
        By name in the order asked for, then by group, the largest first. A window without rows gives one value per
        name, with n = 0 and an empty group.

    Raises
    ------
    BadInput
        If a name, dimension, filter key or filter value is unknown.
    """
    wanted = list(names)
    kpis = resolve(wanted, known(client, wanted))
    question = _question(window, by, where, groups_max=groups_max, step_ns=None)
    answers = {
        (source.name, period_s): _answer(client, source, mine, _reaching_back(question, period_s), intervals)
        for source, period_s, mine in _together(kpis)
        if source.fits(question)
    }
    values = []
    for kpi in kpis:
        source, over = SOURCES[kpi.source], _window_of(kpi, window)
        if not source.fits(question):
            values.append(_unsplittable(kpi, source, question, over))
            continue
        for row in answers[source.name, kpi.period_s] or [_no_rows(kpi)]:
            values.append(_value(kpi, row, question, over, intervals=intervals))
    return values


def series(
    client: Client,
    names: str | Iterable[str],
    *,
    window: Window,
    step_s: float,
    by: Sequence[str] = (),
    where: Where = _EVERYTHING,
    intervals: bool = True,
    groups_max: int = 20,
) -> pd.DataFrame:
    """Values of KPIs step by step, for charts.

    Parameters
    ----------
    client, window, by, where, intervals
        As in `evaluate`.
    names : str or iterable of str
        KPI names, or the fronts of names.
    step_s : float
        Length of a step in seconds; steps begin at the window's start, and the last one may be shorter.
    groups_max : int
        Keep the groups with most rows in the whole window.

    Returns
    -------
    pandas.DataFrame
        Columns `time` (UTC, start of the step), `name`, one per dimension, `value, low, high, n, note`; sorted by name,
        group (largest first) and time. Each group has each step; a step without rows has n = 0 and a value of NaN (0
        for counts), so that lines break where nothing was measured. The attribute `notes` of the frame tells what
        concerns all rows.

    Raises
    ------
    BadInput
        As in `evaluate`, or if there would be more than 5000 steps.
    """
    import pandas as pd  # heavy, and not needed for values

    wanted = [names] if isinstance(names, str) else list(names)
    kpis = resolve(wanted, known(client, wanted))
    step_ns = round(step_s * 1e9)
    length_ns = window.end_ns - window.start_ns
    if step_ns <= 0 or -(-length_ns // step_ns) > STEPS_MAX:
        raise BadInput(f"steps of {step_s:g} s over {window.seconds:g} s are too many; at most {STEPS_MAX} are drawn")
    question = _question(window, by, where, groups_max=groups_max, step_ns=step_ns)
    steps = [_step(window, index, step_ns) for index in range(-(-length_ns // step_ns))]
    notes: dict[str, None] = {}
    records: list[tuple[object, ...]] = []
    for source, period_s, mine in _together(kpis):
        if not source.fits(question):
            notes |= dict.fromkeys(_unsplittable(kpi, source, question, window).note for kpi in mine)
            continue
        if period_s is None:
            rows = _answer(client, source, mine, question, intervals)
        else:
            ask = partial(_answer, client, source, mine, intervals=False)
            rows = rolling.rows(question, len(steps), period_s, ask)
        notes |= dict.fromkeys(note for note in (_cut(row, question) for row in rows) if note)
        records += _series_records(mine, rows, steps, question, intervals=intervals)
    columns = ["time", "name", *by, "value", "low", "high", "n", "note"]
    frame = pd.DataFrame.from_records(records, columns=columns)
    frame["time"] = pd.to_datetime(frame["time"], utc=True)
    frame = frame.astype({"value": "float64", "low": "float64", "high": "float64", "n": "int64"})
    frame.attrs["notes"] = list(notes)
    return frame


def _question(window: Window, by: Sequence[str], where: Where, *, groups_max: int, step_ns: int | None) -> Question:
    if groups_max < 1:
        raise BadInput(f"groups_max must be at least 1, not {groups_max}")
    return Question(
        start_ns=window.start_ns,
        end_ns=window.end_ns,
        by=check_by(by),
        where=check_where(where),
        step_ns=step_ns,
        groups_max=groups_max,
    )


def _together(kpis: Sequence[Kpi]) -> list[tuple[Source, float | None, list[Kpi]]]:
    """KPIs that one statement answers: those of one source over one time."""
    kinds = dict.fromkeys((kpi.source, kpi.period_s) for kpi in kpis)
    return [
        (SOURCES[name], period_s, [kpi for kpi in kpis if (kpi.source, kpi.period_s) == (name, period_s)])
        for name, period_s in kinds
    ]


def _reaching_back(question: Question, period_s: float | None) -> Question:
    return question if period_s is None else replace(question, start_ns=_begin_of_period(question.end_ns, period_s))


def _begin_of_period(end_ns: int, period_s: float) -> int:
    """Of a day and more it is a whole hour, up to one earlier: hours that are added up already answer for it."""
    start_ns = end_ns - round(period_s * 1e9)
    return start_ns - start_ns % _HOUR_NS if period_s >= _DAY_S else start_ns


def _window_of(kpi: Kpi, window: Window) -> Window:
    if kpi.period_s is None:
        return window
    back_ns = window.end_ns - _begin_of_period(window.end_ns, kpi.period_s)
    return Window.last(timedelta(microseconds=back_ns / 1000), now=window.end)


def _answer(client: Client, source: Source, kpis: list[Kpi], question: Question, intervals: bool) -> list[Row]:
    """Rows with all ingredients of these KPIs, quantiles read."""
    asked = quantiles.by_measure(kpi.estimator for kpi in kpis if isinstance(kpi.estimator, Quantile))
    ingredients = dict(source.population)
    for kpi in kpis:
        ingredients |= kpi.estimator.ingredients
    if not asked and (counted := counted_select(client, source, question, ingredients)) is not None:
        return _rows(client, counted, question)
    if (hourly := hourly_select(client, source, question, ingredients)) is not None:
        return _rows(client, hourly, question)
    parts = rolled_parts(client, source, question, ingredients, asked)
    if parts is not None:
        rolled = rolled_select(client, source, question, ingredients, asked, parts)
        rows = _rows(client, rolled, question)
        return [row | histogram.read(row, asked, intervals=intervals) for row in rows]
    columns = [*ingredients, *_aliased(quantiles.array_columns(asked, intervals=intervals))]
    inner = source.build(client, question, ingredients | quantiles.array_ingredients(asked))
    rows = _rows(client, f"SELECT {_list(question.keys, columns)} FROM ({inner})", question)
    for row in rows:
        row |= quantiles.read_quantiles(row, asked, intervals=intervals)
    if asked and any(row["calls__w_min"] != row["calls__w_max"] for row in rows):
        _weigh(client, source, rows, asked, question, intervals)
    return rows


def _weigh(
    client: Client,
    source: Source,
    rows: list[Row],
    asked: Mapping[Measure, Sequence[float]],
    question: Question,
    intervals: bool,
) -> None:
    """Replace the quantiles of those groups whose rows stand for unequal numbers of calls."""
    ingredients = {"calls__n": source.population["calls__n"]} | quantiles.weighted_ingredients(asked)
    helpers = quantiles.weighted_helpers(asked)
    inner = source.build(client, question, ingredients)
    helped = f"SELECT {_list([*question.keys, *ingredients], _aliased(helpers))} FROM ({inner})"
    computed = _aliased(quantiles.weighted_columns(asked, intervals=intervals))
    found = _rows(client, f"SELECT {_list([*question.keys, 'calls__n'], computed)} FROM ({helped})", question)
    by_key = {tuple(row[key] for key in question.keys): row for row in found}
    for row in rows:
        weighted = by_key.get(tuple(row[key] for key in question.keys))
        if weighted is not None and row["calls__w_min"] != row["calls__w_max"]:
            row |= quantiles.read_weighted(weighted, asked, intervals=intervals)


def _rows(client: Client, select: str, question: Question) -> list[Row]:
    """Run a statement that gives one row per key; with groups, keep only the largest."""
    if question.by:
        groups = ", ".join(question.group_keys)
        # Group sizes are over the whole window, so that a series keeps or leaves a group as one.
        sized = f"SELECT *, sum(calls__n) OVER (PARTITION BY {groups}) AS group_n FROM ({select})"
        ranked = f"SELECT *, dense_rank() OVER (ORDER BY group_n DESC, {groups}) AS group_rank FROM ({sized})"
        select = (
            f"SELECT *, max(group_rank) OVER () AS groups_total FROM ({ranked})"
            f" QUALIFY group_rank <= {question.groups_max} ORDER BY group_rank"
        )
    _, parameters = where_sql(question.where)
    result = client.query(select, parameters=parameters)
    return [dict(zip(result.column_names, values, strict=True)) for values in result.result_rows]


def _value(kpi: Kpi, row: Row, question: Question, window: Window, *, intervals: bool) -> KpiValue:
    found = _estimate(kpi, row, window.seconds)
    if not intervals:
        found = replace(found, low=None, high=None)
    return KpiValue(
        name=kpi.name,
        unit=kpi.unit,
        value=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
        group=_group(row, question),
        start=window.start,
        end=window.end,
        method=found.method,
        note="; ".join(note for note in (found.note, _cut(row, question)) if note),
    )


def _estimate(kpi: Kpi, row: Row, seconds: float) -> Estimate:
    if not row["calls__n"]:
        note = "" if kpi.empty is not None else SOURCES[kpi.source].nothing
        return Estimate(value=kpi.empty, method=kpi.estimator.method, note=note)
    return kpi.estimator.estimate(row, seconds=seconds)


def _no_rows(kpi: Kpi) -> Row:
    return {"calls__n": 0}


def _group(row: Row, question: Question) -> dict[str, str]:
    if any(key not in row for key in question.group_keys):
        return {}
    return {name: row[key] for name, key in zip(question.by, question.group_keys, strict=True)}


def _cut(row: Row, question: Question) -> str:
    total = int(row.get("groups_total", 0))
    return f"the {question.groups_max} largest of {total} groups" if total > question.groups_max else ""


def _unsplittable(kpi: Kpi, source: Source, question: Question, window: Window) -> KpiValue:
    note = f"{kpi.name} cannot be split by or filtered on {', '.join(source.lacks(question))}; it is computed from {source.rows}"
    return KpiValue(
        name=kpi.name,
        unit=kpi.unit,
        value=None,
        low=None,
        high=None,
        n=0,
        start=window.start,
        end=window.end,
        method=kpi.estimator.method,
        note=note,
    )


def _step(window: Window, index: int, step_ns: int) -> tuple[datetime, float]:
    """Start of a step, and its seconds inside the window."""
    start_ns = index * step_ns
    seconds = (min(start_ns + step_ns, window.end_ns - window.start_ns) - start_ns) / 1e9
    return window.start + timedelta(microseconds=start_ns / 1000), seconds


def _series_records(
    kpis: list[Kpi], rows: list[Row], steps: list[tuple[datetime, float]], question: Question, *, intervals: bool
) -> list[tuple[object, ...]]:
    groups: dict[tuple[str, ...], dict[int, Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in question.group_keys), {})[int(row["step"])] = row
    if not rows and not question.by:
        groups[()] = {}
    records: list[tuple[object, ...]] = []
    for kpi in kpis:
        for group, by_step in groups.items():
            for index, (start, seconds) in enumerate(steps):
                found = _estimate(kpi, by_step.get(index, _no_rows(kpi)), seconds)
                low, high = (found.low, found.high) if intervals else (None, None)
                records.append((start, kpi.name, *group, found.value, low, high, found.n, found.note))
    return records


def _aliased(columns: Mapping[str, str]) -> list[str]:
    return [f"{sql} AS {name}" for name, sql in columns.items()]


def _list(first: Sequence[str], then: Sequence[str]) -> str:
    return ", ".join([*first, *then])
