"""What each call of the store has that can drift."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from monitor.kpis import Window
from monitor.kpis.dimensions import dimension_sql, refuse, where_sql
from monitor.kpis.sources.moderated import IS_REFUSED
from monitor.kpis.sources.question import between
from monitor.store import Client
from monitor.store.calls import calls_source
from monitor.store.flatten import literal, literals
from monitor.store.judged import judged_source

NUMBERS: Final = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_tokens": "cached_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "ttft": "ttft_s",
    "tpot": "tpot_s",
    "e2e": "duration_s",
    "queue": "queue_s",
    "cost": "cost_usd",
}
# A call without an error has none, which is known; a call without a region has one that is not.
ERROR_SQL: Final = "if(error_type = '', 'none', toString(error_type))"
REFUSAL_SQL: Final = f"if(error_type != '', '', if({IS_REFUSED}, 'refused', 'answered'))"
_PLAIN: Final = ("model", "provider", "operation", "variant", "release", "region", "stream", "cancelled")
CATEGORIES: Final = ("finish_reason", "error_type", "refusal", *_PLAIN)
CLOSED: Final = ("refusal", "stream", "cancelled")  # these have all the values that they can have; none is news
COHORT: Final = "cohort."
SCORE: Final = "score."
COHORTS_MAX: Final = 20
SCORES_MAX: Final = 10


@dataclass(frozen=True, kw_only=True)
class Feature:
    """Something that each call has: a number, or a category.

    Parameters
    ----------
    name : str
        As users write it.
    sql : str
        Its value: Nullable(Float64), or a string in which '' is unknown.
    number : bool
        Which of the two.
    score : str
        Name of the evaluation that it is read from, if it is; `rows_of` adds its column.
    """

    name: str
    sql: str
    number: bool
    score: str = ""


def find_features(
    client: Client, window: Window, wanted: Sequence[str], where: Mapping[str, tuple[str, ...]]
) -> list[Feature]:
    """The features that are wanted; none means all, with the most frequent cohorts of the window.

    Raises
    ------
    BadInput
        If one is unknown.
    """
    known = {name: feature_named(name) for name in (*NUMBERS, *CATEGORIES)}
    condition, parameters = where_sql(where)
    keys = client.query(
        f"SELECT arrayJoin(mapKeys(cohorts)) AS name, count() AS calls FROM {calls_of(client, window)} WHERE {condition}"
        f" GROUP BY name ORDER BY calls DESC, name LIMIT {COHORTS_MAX}",
        parameters=parameters,
    ).result_rows
    found = [COHORT + str(key) for key, _ in keys]
    known |= {name: _cohort(name) for name in found}
    known |= {SCORE + name: _score(SCORE + name) for name in _score_names(client, window)}
    chosen = list(dict.fromkeys(wanted)) or list(known)
    for name in chosen:
        if name not in known and not name.startswith((COHORT, SCORE)):
            refuse("feature", name, list(known))
    return [known.get(name) or feature_named(name) for name in chosen]


def feature_named(name: str) -> Feature:
    """The feature of this name, whether or not any call has it.

    Raises
    ------
    BadInput
        If it could be none.
    """
    if name in NUMBERS:
        return Feature(name=name, sql=f"toFloat64({NUMBERS[name]})", number=True)
    if name in CATEGORIES:
        return Feature(name=name, sql=_category_sql(name), number=False)
    if name.startswith(SCORE):
        return _score(name)
    if not name.startswith(COHORT):
        refuse("feature", name, [*NUMBERS, *CATEGORIES, f"{COHORT}NAME", f"{SCORE}NAME"])
    return _cohort(name)


def calls_of(client: Client, window: Window) -> str:
    """Sub-select of the window's calls, one row each."""
    return calls_source(client, window.start_ns, window.end_ns)


def rows_of(client: Client, window: Window, features: Iterable[Feature]) -> str:
    """The same, with a column for each score that a feature is read from: the newest of a call counts."""
    names = list(dict.fromkeys(feature.score for feature in features if feature.score))
    if not names:
        return calls_of(client, window)
    given = "isNotNull(score) AND source != 'probe'"
    return judged_source(
        client,
        window.start_ns,
        window.end_ns,
        condition=f"{given} AND name IN ({literals(names)})",
        columns={_column(name): f"argMaxIf(score, timestamp, name = {literal(name)})" for name in names},
    )


def _category_sql(name: str) -> str:
    return {"error_type": ERROR_SQL, "refusal": REFUSAL_SQL}.get(name) or dimension_sql(name)


def _cohort(name: str) -> Feature:
    return Feature(name=name, sql=f"cohorts[{literal(name.removeprefix(COHORT))}]", number=False)


def _score(name: str) -> Feature:
    score = name.removeprefix(SCORE)
    return Feature(name=name, sql=f"toFloat64({_column(score)})", number=True, score=score)


def _column(score: str) -> str:
    # A column's name cannot be whatever a score may be called.
    return f"score_{hashlib.sha256(score.encode()).hexdigest()[:12]}"


def _score_names(client: Client, window: Window) -> list[str]:
    """Scores that were given in the window, the most frequent first."""
    query = (
        f"SELECT name, count() AS given FROM evaluations WHERE {between(window.start_ns, window.end_ns)}"
        f" AND isNotNull(score) AND source != 'probe' GROUP BY name ORDER BY given DESC, name LIMIT {SCORES_MAX}"
    )
    return [str(name) for name, _ in client.query(query).result_rows]
