"""The load that the store has seen, as aggregates per minute."""

from __future__ import annotations

from typing import Final

import numpy as np

from monitor.errors import BadInput
from monitor.kpis import Window, check_where
from monitor.kpis.dimensions import Where, where_sql
from monitor.stats.plan import Load, measured_load
from monitor.stats.plan.load import DAY_S, NODES
from monitor.store import Client
from monitor.store.calls import calls_source

STEPS_MAX: Final = 60_000  # minutes of some forty days; longer windows have longer steps
STEPS_S: Final = (60, 300, 900, 3600)
QUIET_S: Final = 3600.0  # no call for so long at an end of the window: nothing was recorded there
BEGUN_MIN: Final = 10  # steps; of fewer, none is left out
CENTI: Final = 100  # weights enter quantiles as whole hundredths


def load_from_store(client: Client, window: Window, *, where: Where | None = None, level_error: float = 0.0) -> Load:
    """The calls of a window as a load.

    Parameters
    ----------
    client : Client
        Of a migrated store.
    window : Window
        A call belongs to the window in which it began; whole minutes of it are counted.
    where : mapping, optional
        Filter, as of KPIs.
    level_error : float
        How wrong the level may be as a forecast, as a share.

    Returns
    -------
    Load
        Each call once, sampled ones with their weight, failed ones too (they took work). A call that does not say its
        tokens counts with the mean of those that do.

    Raises
    ------
    BadInput
        If there are no calls, none says its tokens, or they span too short a time.
    """
    condition, parameters = where_sql(check_where(where or {}))
    rows = f"FROM {calls_source(client, window.start_ns, window.end_ns)} WHERE {condition}"
    step_s = next((step for step in STEPS_S if window.seconds / step <= STEPS_MAX), STEPS_S[-1])
    counts = _per_step(client, window, rows, parameters, step_s)
    if not len(counts):
        raise BadInput(
            "there is no call to plan from in this window; give a longer --since, or state the usage with"
            " --requests-per-day, --input-tokens and --output-tokens"
        )
    first, last = _recorded(counts[:, 0].astype(np.int64), int(window.seconds // step_s), step_s)
    table = np.zeros((last - first, counts.shape[1] - 1))
    inside = (counts[:, 0] >= first) & (counts[:, 0] < last)
    table[counts[inside, 0].astype(np.int64) - first] = counts[inside, 1:]
    calls, squares, stored, told_in, told_out, sum_in, sum_out = table.T
    start = window.start.hour + window.start.minute / 60 + window.start.second / 3600 + first * step_s / 3600
    try:
        return measured_load(
            step_s=step_s,
            calls=calls,
            input_tokens=_completed(calls, told_in, sum_in, "prompt"),
            output_tokens=_completed(calls, told_out, sum_out, "output"),
            prompt_nodes=_prompt_nodes(client, rows, parameters),
            poisson_variance=squares,
            start_hour=start % 24,
            stored=int(stored.sum()),
            level_error=level_error,
            note=_note(window, first, last, step_s),
        )
    except ValueError as error:
        raise BadInput(f"{error}; give another --since, or state the usage with --requests-per-day") from None


def models_seen(client: Client, window: Window, *, where: Where | None = None) -> dict[str, float]:
    """Models of the window's calls, and how many calls each had, the most first."""
    condition, parameters = where_sql(check_where(where or {}))
    query = (
        f"SELECT toString(model) AS name, sum(sample_weight) AS calls"
        f" FROM {calls_source(client, window.start_ns, window.end_ns)} WHERE {condition}"
        " GROUP BY name ORDER BY calls DESC, name LIMIT 20"
    )
    return {str(name): float(calls) for name, calls in client.query(query, parameters=parameters).result_rows}


def _per_step(
    client: Client, window: Window, rows: str, parameters: dict[str, list[str]], step_s: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Rows of (step, calls, squared weights, stored calls, calls with tokens in, out, tokens in, out)."""
    step_ns = step_s * 10**9
    told = [f"sumIf(sample_weight, isNotNull({column}))" for column in ("input_tokens", "output_tokens")]
    sums = [f"sum(sample_weight * toFloat64(ifNull({column}, 0)))" for column in ("input_tokens", "output_tokens")]
    columns = ["sum(sample_weight)", "sum(sample_weight * sample_weight)", "toFloat64(count())", *told, *sums]
    query = (
        f"SELECT intDiv(toUnixTimestamp64Nano(timestamp) - {window.start_ns}, {step_ns}) AS step, {', '.join(columns)}"
        f" {rows} GROUP BY step ORDER BY step"
    )
    result = client.query(query, parameters=parameters).result_rows
    table = np.array(result, dtype=np.float64).reshape(-1, 8)
    return np.asarray(table[table[:, 0] < window.seconds // step_s])


def _recorded(steps: np.ndarray[tuple[int, ...], np.dtype[np.int64]], total: int, step_s: int) -> tuple[int, int]:
    """First and last step of what was recorded: the window, without silence at its ends.

    Silence is an hour without a call. Of a stretch of less than two days, a minute counts already, and so does the
    begun minute at such an end, since it would lower the rates.
    """
    first, last = int(steps[0]), int(steps[-1]) + 1
    short = (last - first) * step_s < 2 * DAY_S
    quiet_s = 0.0 if short else QUIET_S
    begun = 1 if short and last - first > BEGUN_MIN else 0
    return (
        first + begun if first * step_s > quiet_s else 0,
        last - begun if (total - last) * step_s > quiet_s else total,
    )


def _completed(
    calls: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    told: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    sums: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    what: str,
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Tokens of a step, with the mean for calls that do not tell."""
    if not told.sum():
        raise BadInput(
            f"no call of this window says how many {what} tokens it had; state the usage with --requests-per-day,"
            " --input-tokens and --output-tokens"
        )
    return np.asarray(sums + (calls - told) * (sums.sum() / told.sum()))


def _prompt_nodes(
    client: Client, rows: str, parameters: dict[str, list[str]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    levels = ", ".join(f"{(i + 0.5) / NODES:g}" for i in range(NODES))
    query = (
        f"SELECT quantilesTDigestWeighted({levels})(toFloat64(assumeNotNull(input_tokens)),"
        f" toUInt64(greatest(round(sample_weight * {CENTI}), 1))) {rows} AND isNotNull(input_tokens)"
    )
    return np.array(client.query(query, parameters=parameters).result_rows[0][0], dtype=np.float64)


def _note(window: Window, first: int, last: int, step_s: int) -> str:
    hours = (last - first) * step_s / 3600
    if last - first >= window.seconds // step_s:
        return ""
    return f"calls were recorded in {hours:.1f} of the window's {window.seconds / 3600:.1f} hours; the rest is left out"
