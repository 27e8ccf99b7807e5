"""Jobs beside the collectors of `monitor up`, and one run on demand from wherever it is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from collectors.otlp.answers import UNAUTHENTICATED
from collectors.otlp.body import content_type
from collectors.otlp.tokens import is_allowed
from monitor.errors import BadInput, MonitorError, StoreAway, StoreError
from monitor.jobs.job import Job
from monitor.jobs.plan import find, plan
from monitor.jobs.runner import Attempt
from monitor.jobs.scheduler import Scheduler
from monitor.serve.all_jobs import ALL_JOBS
from monitor.serve.trust import trust
from monitor.settings import Settings
from monitor.store.client import connect, explained, reason, server_address
from monitor.store.migrate import pending
from monitor.store.owner import Claim, Owner, find_owner
from monitor.store.reader import refuse_missing

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
    refuse_missing(settings)
    if not settings.embedded:
        return _run_here(settings, name, jobs)
    owner = find_owner(settings.data)
    if owner is not None:
        return _ask(owner, settings, name)
    claim = Claim(settings.data)
    try:
        return _run_here(settings, name, jobs)
    finally:
        claim.release()


def _run_here(settings: Settings, name: str, jobs: Mapping[str, Job]) -> dict[str, Any]:
    client = connect(settings.store_url)  # open to the end: the embedded engine is not closed and opened in between
    try:
        with explained(server_address(settings.store_url)):
            if pending(client):
                raise StoreError("the store's schema is behind this release; run `monitor migrate`")
            scheduler = Scheduler(settings, jobs=jobs)
            try:
                attempt = scheduler.run_now(name)
            finally:
                scheduler.stop()
    finally:
        client.close()
    if attempt.run is None:
        raise StoreAway(_refusal(name, attempt))
    return attempt.run.as_json()


def _ask(owner: Owner, settings: Settings, name: str) -> dict[str, Any]:
    if "http" not in owner.addresses:
        raise StoreAway(f"process {owner.pid} has the data folder {settings.data} and runs no jobs; stop it first")
    url = owner.addresses["http"] + RUN_PATH.format(name=quote(name, safe=""))
    headers = {"Content-Type": _JSON}
    for token in settings.collectors.tokens[:1]:
        headers["Authorization"] = f"Bearer {token.get_secret_value()}"
    request = urllib.request.Request(url, data=b"{}", headers=headers, method="POST")
    try:
        with urllib.request.urlopen(
            request, timeout=ANSWER_S, context=trust(url, settings.collectors.tls_cert)
        ) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        raise _said(error, owner) from None
    except (OSError, ValueError) as error:
        raise StoreAway(f"the service at {url} does not answer: {error}; try again") from None


def _said(error: urllib.error.HTTPError, owner: Owner) -> MonitorError:
    try:
        words = str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError):
        words = f"it answers {error.code}"
    if error.code == 401:
        words += "; name the configuration that it runs with by --config"
    return StoreAway(f"the service, process {owner.pid}, did not run the job: {words}")


def _refusal(name: str, attempt: Attempt) -> str:
    if attempt.decision.why == "stopping":
        return "the service is stopping"
    return f"the job {name} runs just now; see `monitor jobs`, and try again when it has ended"


def _error(message: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers=headers)
