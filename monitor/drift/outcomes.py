"""What drifted features do to latency, cost and accuracy; the store adds up outcomes by bin, one statement a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from monitor.drift.counting import Bins, bin_parameters, bin_sql
from monitor.drift.features import rows_of
from monitor.kpis import Window
from monitor.kpis.dimensions import where_sql
from monitor.kpis.sources import Question
from monitor.kpis.sources.judged import calls_judged
from monitor.kpis.sources.question import between
from monitor.stats.drift import Drift
from monitor.stats.drift.contribution import BinOutcome, brought
from monitor.stats.drift.effects import Array
from monitor.store import Client

OUTCOMES: Final = ("latency", "cost", "accuracy")
FEATURES_MAX: Final = 20  # of those that are weighed; each has nine columns
_NANO: Final = 1e9
_AS_COUNTED: Final[Mapping[str, tuple[Array, Array]]] = {}


def weighed(
    client: Client,
    found: Sequence[Drift],
    bins: Sequence[Bins],
    reference: Window,
    current: Window,
    where: Mapping[str, tuple[str, ...]],
    *,
    masses: Mapping[str, tuple[Array, Array]] = _AS_COUNTED,
) -> list[Drift]:
    """The same with `brings` and `impact` of those whose effect is above its threshold.

    Parameters
    ----------
    found : sequence of Drift
    bins : sequence of Bins
        Of their features, as counted; what has none (texts) stays as it is.
    reference, current : Window
    where : mapping
        A checked filter, for both.
    masses : mapping
        Feature -> weights of its bins before and now, where they are not those of the two windows.
    """
    wanted = {each.feature for each in found if each.value is not None and each.value > each.threshold}
    chosen = [each for each in bins if {each.feature.name, f"{each.feature.name}.missing"} & wanted][:FEATURES_MAX]
    if not chosen:
        return list(found)
    before, after = (_sums(client, window, chosen, where) for window in (reference, current))
    answers = {}
    for i, each in enumerate(chosen):
        brings, shares = [], []
        own = masses.get(each.feature.name)
        for outcome in OUTCOMES:
            sides = before[i, outcome], after[i, outcome]
            if own is not None:
                sides = replace(sides[0], mass=own[0]), replace(sides[1], mass=own[1])
            told = brought(*sides)
            if told is not None:
                brings.append((outcome, told[0]))
                # Against a mean of accuracy near 1, what is wrong is the measure: a tenth more errors counts.
                scale = min(told[1], 1 - told[1]) if outcome == "accuracy" else told[1]
                shares.append(abs(told[0]) / max(abs(scale), 1e-9))
        answers[each.feature.name] = (tuple(brings), max(shares, default=None))
    return [_with(each, answers) for each in found]


def _with(drift: Drift, answers: Mapping[str, tuple[tuple[tuple[str, float], ...], float | None]]) -> Drift:
    name = drift.feature.removesuffix(".missing")
    if name not in answers:
        return drift
    brings, impact = answers[name]
    return replace(drift, brings=brings, impact=impact)


def _sums(
    client: Client, window: Window, bins: Sequence[Bins], where: Mapping[str, tuple[str, ...]]
) -> dict[tuple[int, str], BinOutcome]:
    condition, parameters = where_sql(where)
    w = "sample_weight"
    columns = []
    for i, each in enumerate(bins):
        at = bin_sql(each, i)
        columns.append(f"sumMap(map({at}, {w})) AS m{i}")
        for outcome in OUTCOMES:
            y = f"y_{outcome}"
            columns.append(f"sumMapIf(map({at}, {w}), isNotNull({y})) AS n{i}_{outcome}")
            columns.append(f"sumMapIf(map({at}, {w} * assumeNotNull({y})), isNotNull({y})) AS t{i}_{outcome}")
    query = f"SELECT {', '.join(columns)} FROM {_with_outcomes(client, window, bins)} WHERE {condition}"
    everything: dict[str, Any] = {**parameters, **bin_parameters(bins)}
    result = client.query(query, parameters=everything)
    row = dict(zip(result.column_names, result.result_rows[0], strict=True))
    return {
        (i, outcome): BinOutcome(
            mass=_array(row[f"m{i}"], each.width),
            known=_array(row[f"n{i}_{outcome}"], each.width),
            total=_array(row[f"t{i}_{outcome}"], each.width),
        )
        for i, each in enumerate(bins)
        for outcome in OUTCOMES
    }


def _with_outcomes(client: Client, window: Window, bins: Sequence[Bins]) -> str:
    """The window's calls with `y_latency` (s), `y_cost` and `y_accuracy`; NULL is unknown."""
    question = Question(start_ns=window.start_ns, end_ns=window.end_ns, where={}, groups_max=1)
    inside = between(window.start_ns, window.end_ns)
    costs = (
        f"SELECT trace_id, span_id, call_costs.cost / {_NANO} / sample_weight AS priced FROM call_costs FINAL"
        f" WHERE {inside.replace('timestamp', 'call_costs.timestamp')}"
    )
    judged = f"SELECT trace_id, span_id, toNullable(right_) AS told FROM {calls_judged(client, question)}"
    rows = rows_of(client, window, [each.feature for each in bins])
    return f"""(
SELECT c.*, if(error_type = '' AND NOT cancelled, toNullable(duration_s), NULL) AS y_latency,
    coalesce(k.priced, c.cost_usd) AS y_cost, j.told AS y_accuracy
FROM {rows} AS c
LEFT ANY JOIN ({costs}) AS k ON c.trace_id = k.trace_id AND c.span_id = k.span_id
LEFT ANY JOIN ({judged}) AS j ON c.trace_id = j.trace_id AND c.span_id = j.span_id
)"""


def _array(found: Mapping[int, float], width: int) -> Array:
    """By bin, with those without a value at the end."""
    array = np.zeros(width + 1)
    for at, value in found.items():
        array[at] = value  # -1 is the last one
    return array
