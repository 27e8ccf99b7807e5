"""Calls of a window of the store as groups with their sums; the store counts, one statement for each kind of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

from monitor.bias.binary import read_classes
from monitor.bias.files import GROUPS_MAX, class_measures
from monitor.bias.judged import EVALUATION_NAME, pairs_sql, thumbs_sql
from monitor.errors import BadInput
from monitor.kpis import Window, check_where
from monitor.kpis.dimensions import COHORT, DIMENSIONS, Where, check_cohort, where_sql
from monitor.kpis.estimators import Measure as Asked
from monitor.kpis.sources import SOURCES, Question
from monitor.kpis.sources.moderated import IS_REFUSED
from monitor.stats.bias import Family, Measure, Sums, families, names, outcome
from monitor.stats.bias.measures import Better, Kind
from monitor.store import Client

SCORE: Final = "score."
_DONE: Final = "error_type = ''"
# Outcome -> (kind, rows that it is of, its number).
_KNOWN: Final[dict[str, tuple[Kind, str, Asked]]] = {
    "error": ("share", "calls", Asked(name="error", value="toUInt8(error_type != '')")),
    "latency": ("mean", "calls", Asked(name="latency", value="duration_s", among=f"{_DONE} AND NOT cancelled")),
    "ttft": ("mean", "calls", Asked(name="ttft", value="ttft_s", among=_DONE)),
    "refusal": (
        "share",
        "calls",
        Asked(name="refusal", value=f"toUInt8({IS_REFUSED})", among=_DONE),
    ),
    "correct": ("share", "judged", Asked(name="correct", value="toUInt8(right_ >= 0.5)", among="isNotNull(right_)")),
    "thumbs_up": ("share", "thumbs", Asked(name="thumbs_up", value="up")),
}
OUTCOMES: Final = tuple(_KNOWN)


def families_from_store(
    client: Client,
    window: Window,
    *,
    by: Sequence[Sequence[str]],
    where: Where | None = None,
    label: str | None = None,
    prediction: str | None = None,
    positive: str | None = None,
    outcomes: Sequence[str] = (),
    better: Better | None = None,
) -> tuple[list[Family], list[str]]:
    """Families of groups of a window's calls, and what to know about them.

    Parameters
    ----------
    client : Client
        Of a migrated store.
    window : Window
        A call belongs to the window in which it began, however late it was judged.
    by : sequence of sequences of str
        Dimensions, or names of cohorts; those that stand together are also combined.
    where : mapping, optional
        Filter, as of KPIs.
    label, prediction : str, optional
        Names of evaluations whose label (or score) is the truth, and the answer: `correct` and `answer`, say.
    outcomes : sequence of str
        Of `OUTCOMES`, or `score.NAME`: the newest score of that name of each call.
    positive, better
        As in `read_families`.

    Raises
    ------
    BadInput
        If a name is unknown, or there are no calls.
    """
    checked = check_where(where or {})
    plan = [_outcome(name) for name in outcomes]
    found: list[Family] = []
    notes: list[str] = []
    for together in by:
        dimensions = tuple(dimension_of(client, window, name) for name in together)
        question = Question(
            start_ns=window.start_ns, end_ns=window.end_ns, by=dimensions, where=checked, groups_max=GROUPS_MAX
        )
        rows = _all_groups(client, question, together)
        columns = {name: names(rows[f"g{i}"]) for i, name in enumerate(together)}
        measures: list[Measure] = []
        if prediction:
            more, note = _class_rates(client, question, rows, label, prediction, positive)
            measures += more
            notes += [note] if note else []
        measures += _outcomes(client, question, rows, plan, better)
        found += families(columns, measures)
    return found, list(dict.fromkeys(notes))


def dimension_of(client: Client, window: Window, name: str) -> str:
    """The dimension, or the cohort, of this name."""
    if name in DIMENSIONS:
        return name
    wanted = check_cohort(name.removeprefix(COHORT))
    seen = _cohorts(client, window)
    if wanted.removeprefix(COHORT) not in seen:
        known = f"cohorts of this window are {', '.join(seen)}" if seen else "no call of this window has a cohort"
        raise BadInput(f"there is no dimension or cohort `{name}`; {known}; dimensions are {', '.join(DIMENSIONS)}")
    return wanted


def _cohorts(client: Client, window: Window) -> list[str]:
    between = (
        f"timestamp >= fromUnixTimestamp64Nano(toInt64({window.start_ns}))"
        f" AND timestamp < fromUnixTimestamp64Nano(toInt64({window.end_ns}))"
    )
    query = (
        f"SELECT DISTINCT arrayJoin(mapKeys(cohorts)) AS name FROM inferences WHERE {between} ORDER BY name LIMIT 200"
    )
    return [str(row[0]) for row in client.query(query).result_rows]


def _outcome(name: str) -> tuple[str, Kind, str, Asked]:
    if name in _KNOWN:
        return (name, *_KNOWN[name])
    if name.startswith(SCORE):
        wanted = name.removeprefix(SCORE)
        if not EVALUATION_NAME.fullmatch(wanted):
            raise BadInput(f"`{wanted}` is no name of a score; it has letters, digits, spaces and . _ - / alone")
        return name, "mean", "scores", Asked(name="score", value="score_value", among=f"score_name = '{wanted}'")
    raise BadInput(f"there is no outcome `{name}`; known are {', '.join(OUTCOMES)} and {SCORE}NAME of an evaluation")


def _all_groups(client: Client, question: Question, together: Sequence[str]) -> pd.DataFrame:
    """Every combination that has calls, one row each; what an outcome's rows lack has n = 0 then."""
    sql = SOURCES["calls"].build(client, question, {"n": "count()"})
    frame = _query(
        client, question, f"SELECT * FROM ({sql}) ORDER BY {', '.join(question.keys)} LIMIT {GROUPS_MAX + 1}"
    )
    if not len(frame):
        raise BadInput("there is no call in this window; give a longer one, or another --where")
    if len(frame) > GROUPS_MAX:
        raise BadInput(f"{', '.join(together)} make more than {GROUPS_MAX} groups; choose dimensions with fewer values")
    return frame[question.keys]


def _outcomes(
    client: Client,
    question: Question,
    groups: pd.DataFrame,
    plan: Sequence[tuple[str, Kind, str, Asked]],
    better: Better | None,
) -> list[Measure]:
    """The measures in the order asked for, with one statement for each kind of rows (scores: each name)."""
    scored = _has_refusal_scores(client, question) if any(name == "refusal" for name, *_ in plan) else False
    found: dict[str, Measure] = {}
    for source in dict.fromkeys(source for _, _, source, _ in plan):
        mine = [(name, kind, asked) for name, kind, of, asked in plan if of == source]
        if source == "scores":
            for name, kind, asked in mine:
                sums = _sums(client, question, groups, source, [asked])
                found[name] = outcome(name, kind, sums[asked.name], better=better)
            continue
        if scored:
            mine = [each for each in mine if each[0] != "refusal"]
        sums = _sums(client, question, groups, source, [asked for *_, asked in mine]) if mine else {}
        found |= {name: outcome(name, kind, sums[asked.name], better=better) for name, kind, asked in mine}
    if scored:
        asked = Asked(name="refusal", value="toUInt8(score_value >= 0.5)", among="score_name = 'refusal'")
        sums = _sums(client, question, groups, "scores", [asked])
        found["refusal"] = outcome("refusal", "share", sums["refusal"], better=better)
    return [found[name] for name, *_ in plan]


def _has_refusal_scores(client: Client, question: Question) -> bool:
    asked = Asked(name="refusal", value="score_value", among="score_name = 'refusal'")
    whole = Question(start_ns=question.start_ns, end_ns=question.end_ns, where=question.where, groups_max=1)
    frame = _query(client, question, SOURCES["scores"].build(client, whole, asked.pick("n")))
    return bool(len(frame) and frame["refusal__n"].sum())


def _sums(
    client: Client, question: Question, groups: pd.DataFrame, source: str, asked: Sequence[Asked]
) -> dict[str, Sums]:
    picked = ("n", "w", "ww", "wx", "wwx", "wwxx")
    ingredients: dict[str, str] = {}
    for each in asked:
        ingredients |= each.pick(*picked)
    build = thumbs_sql if source == "thumbs" else SOURCES[source].build
    frame = _query(client, question, build(client, question, ingredients))
    if not len(frame):  # of no rows the embedded engine does not say the columns either
        frame = pd.DataFrame({name: pd.Series(dtype="object") for name in (*question.keys, *ingredients)})
    whole = groups.merge(frame, on=question.keys, how="left").fillna(0.0)
    return {
        each.name: Sums(**{name: whole[f"{each.name}__{name}"].to_numpy(dtype=np.float64) for name in picked})
        for each in asked
    }


def _class_rates(
    client: Client, question: Question, groups: pd.DataFrame, label: str | None, prediction: str, positive: str | None
) -> tuple[list[Measure], str]:
    """Rates from the store's counts of (group, label, prediction)."""
    frame = _query(client, question, pairs_sql(client, question, label, prediction))
    if not len(frame):
        return (
            [],
            f"no call of this window has {'both `' + label + '` and' if label else 'an evaluation'} `{prediction}`",
        )
    place = {tuple(key): i for i, key in enumerate(groups.itertuples(index=False, name=None))}
    codes = np.array([place[tuple(key)] for key in frame[question.keys].itertuples(index=False, name=None)])
    classes = read_classes(frame["truth"] if label else None, frame["said"], positive=positive)
    # Each row stands for n calls with weights w: as sums, by counting each cell with a weight of its own.
    tables = [
        class_measures(classes, codes, len(groups), frame[name].to_numpy(dtype=np.float64)) for name in ("n", "w", "ww")
    ]
    measures = []
    for plain, weighted, squared in zip(*tables, strict=True):
        n, w, ww = plain.sums, weighted.sums, squared.sums
        sums = Sums(n=n.w, w=w.w, ww=ww.w, wx=w.wx, wwx=ww.wx, wwxx=ww.wx)
        measures.append(Measure(name=plain.name, kind=plain.kind, better=plain.better, sums=sums, verb=plain.verb))
    return measures, classes.note


def _query(client: Client, question: Question, sql: str) -> pd.DataFrame:
    _, parameters = where_sql(question.where)
    result = client.query(sql, parameters=parameters)
    return pd.DataFrame([list(row) for row in result.result_rows], columns=list(result.column_names))
