"""What each call of the store has that can drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from monitor.kpis import Window
from monitor.kpis.dimensions import dimension_sql, refuse, where_sql
from monitor.store import Client
from monitor.store.calls import calls_source

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
CATEGORIES: Final = (
    "finish_reason", "error_type", "model", "provider", "operation", "variant", "release", "region", "stream", "cancelled",
)  # fmt: skip
COHORT: Final = "cohort."
COHORTS_MAX: Final = 20


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
    """

    name: str
    sql: str
    number: bool


def find_features(
    client: Client, window: Window, wanted: Sequence[str], where: Mapping[str, tuple[str, ...]]
) -> list[Feature]:
    """The features that are wanted; none means all, with the most frequent cohorts of the window.

    Raises
    ------
    BadInput
        If one is unknown.
    """
    known = {name: Feature(name=name, sql=f"toFloat64({column})", number=True) for name, column in NUMBERS.items()}
    known |= {name: Feature(name=name, sql=dimension_sql(name), number=False) for name in CATEGORIES}
    condition, parameters = where_sql(where)
    keys = client.query(
        f"SELECT arrayJoin(mapKeys(cohorts)) AS name, count() AS calls FROM {calls_of(client, window)} WHERE {condition}"
        f" GROUP BY name ORDER BY calls DESC, name LIMIT {COHORTS_MAX}",
        parameters=parameters,
    ).result_rows
    found = [COHORT + str(key) for key, _ in keys]
    known |= {name: _cohort(name) for name in found}
    chosen = list(dict.fromkeys(wanted)) or list(known)
    for name in chosen:
        if name not in known and not name.startswith(COHORT):
            refuse("feature", name, list(known))
    return [known.get(name) or _cohort(name) for name in chosen]


def _cohort(name: str) -> Feature:
    return Feature(name=name, sql=f"cohorts[{_quoted(name.removeprefix(COHORT))}]", number=False)


def calls_of(client: Client, window: Window) -> str:
    """Sub-select of the window's calls, one row each."""
    return calls_source(client, window.start_ns, window.end_ns)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
