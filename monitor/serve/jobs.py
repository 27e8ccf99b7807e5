"""Jobs beside the collectors of `monitor up`, and one run on demand from wherever it is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from collectors.otlp.answers import UNAUTHENTICATED
from collectors.otlp.body import content_type
from collectors.otlp.tokens import is_allowed
from monitor.errors import BadInput, StoreAway
from monitor.jobs.job import Job
from monitor.jobs.plan import find, plan
from monitor.jobs.runner import Attempt
from monitor.jobs.scheduler import Scheduler
from monitor.serve.all_jobs import ALL_JOBS
from monitor.serve.ask import ask
from monitor.settings import Settings
from monitor.store.client import Client, reason

logger = logging.getLogger(__name__)

RUN_PATH: Final = "/api/jobs/{name}/run"
# A run of a job may take hours.
ANSWER_S: Final = 24 * 3600.0
_JSON: Final = "application/json"


def start_jobs(scheduler: Scheduler, stack: contextlib.AsyncExitStack) -> None:
    """Run jobs until the stack is left."""
    scheduler.start()
    stack.push_async_callback(asyncio.to_thread, scheduler.stop)


def run_route(scheduler: Scheduler, tokens: Sequence[str]) -> Route:
    """`POST /api/jobs/NAME/run`: runs the job now and answers with what became of it."""

    async def run(request: Request) -> Response:
        if not is_allowed(request.headers.get("authorization"), tokens):
            return _error(UNAUTHENTICATED.message, 401, {"WWW-Authenticate": "Bearer"})
        if content_type(request) != _JSON:  # which no page of another origin can send without asking
            return _error(f"Content-Type {_JSON} is wanted", 415)
        try:
            attempt = await asyncio.to_thread(scheduler.run_now, request.path_params["name"])
        except BadInput as error:
            return _error(str(error), 404)
        except Exception as error:
            return _error(f"the store cannot be asked whose turn the job is: {reason(error)}", 503)
        if attempt.run is None:
            return _error(_refusal(request.path_params["name"], attempt), 409)
        return JSONResponse(attempt.run.as_json())

    return Route(RUN_PATH, run, methods=["POST"])


def run_job(settings: Settings, name: str, *, jobs: Mapping[str, Job] = ALL_JOBS) -> dict[str, Any]:
    """Run one job now, in the process that has the embedded store if one has; what became of it, as its row.

    Raises
    ------
    BadInput
        If there is no such job or no store.
    StoreAway
        If a process runs the job already, or the service does not answer.
    StoreError
        If the schema is behind.
    """
    find(plan(settings, jobs), name)

    def here(client: Client, values: Mapping[str, Any], now: datetime) -> dict[str, Any]:
        scheduler = Scheduler(settings, jobs=jobs)
        try:
            attempt = scheduler.run_now(name)
        finally:
            scheduler.stop()
        if attempt.run is None:
            raise StoreAway(_refusal(name, attempt))
        return attempt.run.as_json()

    # The client stays open to the end: the embedded engine is not closed and opened in between.
    return dict(ask(settings, "POST", RUN_PATH.format(name=quote(name, safe="")), {}, here, answer_s=ANSWER_S))


def _refusal(name: str, attempt: Attempt) -> str:
    if attempt.decision.why == "stopping":
        return "the service is stopping"
    return f"the job {name} runs just now; see `monitor jobs`, and try again when it has ended"


def _error(message: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers=headers)
