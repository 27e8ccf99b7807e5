"""`monitor work`: scheduled jobs alone, against a ClickHouse server or cluster; any number of them side by side."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from functools import partial

from alerts.book import refuse_wrong_rules
from monitor.errors import BadInput
from monitor.jobs.job import Job
from monitor.jobs.scheduler import Scheduler
from monitor.serve.all_jobs import ALL_JOBS
from monitor.serve.jobs import start_jobs
from monitor.serve.objectives import store_objectives
from monitor.serve.up import OnReady, open_store, serve_until_stopped
from monitor.settings import Settings
from monitor.store.client import server_address
from monitor.store.owner import find_owner


def run_work(settings: Settings, *, on_ready: OnReady, jobs: Mapping[str, Job] = ALL_JOBS) -> None:
    """Run jobs until SIGINT or SIGTERM; `on_ready` is called with this worker's name and the store's address.

    Raises
    ------
    BadInput
        If the store is embedded: it belongs to one process, which is `monitor up`.
    MonitorError
        If the configuration or the store refuses.
    """
    if settings.embedded:
        owner = find_owner(settings.data)
        whose = f", and process {owner.pid} has it" if owner is not None else ""
        raise BadInput(
            f"workers of their own need a ClickHouse server, and the store is the embedded one, which one process alone"
            f" can open{whose}; `monitor up` runs its jobs, or set store.url to http://user:password@host:8123/database"
        )
    asyncio.run(serve_until_stopped(lambda stack: _start(settings, stack, jobs), on_ready))


async def _start(settings: Settings, stack: contextlib.AsyncExitStack, jobs: Mapping[str, Job]) -> dict[str, str]:
    refuse_wrong_rules(settings)
    scheduler = Scheduler(settings, jobs=jobs)
    heartbeat = await open_store(settings, stack, on_open=partial(store_objectives, settings))
    # A server that is away now is brought up to date when it comes.
    await stack.enter_async_context(heartbeat.beating())
    start_jobs(scheduler, stack)
    return {"worker": scheduler.worker, "store": server_address(settings.store_url)}
