"""Table `job_runs`: what became of each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from monitor.store import Client

_COLUMNS: Final = (
    "job", "token", "worker", "state", "started_at", "ended_at", "duration_s", "rows", "note", "error",
)  # fmt: skip
KILLED: Final = "its process ended, or was not heard of, in the middle of the run"
# A run that was abandoned longer ago than this is not looked for.
_LOOK_BACK: Final = timedelta(days=30)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a job, as its row.

    Attributes
    ----------
    token : str
        Of the lease: which turn of the job it was.
    worker : str
        Host and process.
    state : str
        `running`; `ok`; `failed`, with an `error`; `abandoned`: stopped or killed before its end, and made up by the next.
    ended_at, duration_s : datetime, float, optional
        None while it runs, and for ever if it was killed.
    """

    job: str
    token: str
    worker: str
    state: Literal["running", "ok", "failed", "abandoned"]
    started_at: datetime
    ended_at: datetime | None = None
    duration_s: float | None = None
    rows: int = 0
    note: str = ""
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        times = {"started_at": self.started_at, "ended_at": self.ended_at}
        return asdict(self) | {name: at.isoformat() if at is not None else None for name, at in times.items()}


def write_run(client: Client, run: Run) -> None:
    """Write the run as it is by now; a row that was written before is replaced."""
    client.insert(
        "job_runs",
        [[getattr(run, name) for name in _COLUMNS]],
        column_names=list(_COLUMNS),
        settings={"async_insert": 0, "insert_deduplication_token": f"{run.token}:{run.worker}:{run.state}"},
    )


def newest_run(client: Client, job: str) -> Run | None:
    """The run of this job that began last."""
    where = "WHERE job = {job:String} ORDER BY started_at DESC LIMIT 1"
    return next(iter(_select(client, where, {"job": job})), None)


def newest_runs(client: Client) -> dict[str, Run]:
    """Of each job the run that began last."""
    return {run.job: run for run in _select(client, "ORDER BY started_at DESC LIMIT 1 BY job", {})}


def last_success(client: Client) -> dict[str, datetime]:
    """Of each job the begin of its last run that was good."""
    query = "SELECT job, max(started_at) FROM job_runs FINAL WHERE state = 'ok' GROUP BY job"
    return {str(job): at.replace(tzinfo=UTC) for job, at in client.query(query).result_rows}


def abandon_others(client: Client, run: Run) -> int:
    """Mark earlier runs of the job that never ended; how many there were. Only who has the turn may."""
    where = "WHERE job = {job:String} AND state = 'running' AND token != {token:String} AND started_at > {since:DateTime64(6)}"
    parameters = {"job": run.job, "token": run.token, "since": run.started_at - _LOOK_BACK}
    found = _select(client, where, parameters)
    for each in found:
        write_run(client, replace(each, state="abandoned", error=KILLED))
    return len(found)


def _select(client: Client, rest: str, parameters: dict[str, Any]) -> Sequence[Run]:
    query = f"SELECT {', '.join(_COLUMNS)} FROM job_runs FINAL {rest}"
    found = []
    for row in client.query(query, parameters=parameters).result_rows:
        values = dict(zip(_COLUMNS, row, strict=True))
        for name in ("started_at", "ended_at"):
            if values[name] is not None:
                values[name] = values[name].replace(tzinfo=UTC)
        found.append(Run(**values))
    return found
