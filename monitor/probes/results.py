"""What probes found, into and out of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from monitor.probes.compare import Comparison
from monitor.store import Client

COLUMNS: Final = (
    "kind", "cohort", "metric", "value", "low", "high", "p_value", "p_adjusted", "group_value", "baseline_value", "n",
    "n_differing", "baseline", "method", "test", "verdict", "reason", "model", "endpoint", "run_at",
)  # fmt: skip
PAIRED: Final = "paired"
BBQ: Final = "bbq"


def record_of(each: Comparison) -> dict[str, Any]:
    """A comparison as a row of `probe_results`, without what a run knows."""
    names = ("value", "low", "high", "p_value", "p_adjusted", "group_value", "baseline_value", "n", "n_differing")
    told = {name: getattr(each.found, name) for name in (*names, "method", "test", "verdict", "reason")}
    return {"kind": PAIRED, "cohort": each.cohort, "metric": each.metric, "baseline": each.baseline, **told}


def write_results(
    client: Client, records: Sequence[Mapping[str, Any]], *, run_at: datetime, model: str, endpoint: str
) -> int:
    """Write the rows of one run; returns how many."""
    version = int(client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows[0][0])
    common = {"run_at": run_at, "model": model, "endpoint": endpoint}
    rows = [[(record | common)[name] for name in COLUMNS] + [version] for record in map(dict, records)]
    if rows:
        client.insert("probe_results", rows, column_names=[*COLUMNS, "version"])
    return len(rows)


def read_results(client: Client, *, kind: str = PAIRED) -> list[dict[str, Any]]:
    """Rows of the newest run of a kind, what is unequal first; none if there was no run."""
    columns = ", ".join(COLUMNS)
    result = client.query(
        f"SELECT {columns} FROM probe_results FINAL WHERE kind = {{kind:String}} AND run_at = (SELECT max(run_at)"
        " FROM probe_results WHERE kind = {kind:String}) ORDER BY verdict != 'unequal', cohort, metric",
        parameters={"kind": kind},
    )
    return [dict(zip(COLUMNS, row, strict=True)) for row in result.result_rows]
