"""`monitor dashboard`: the pages alone, over a ClickHouse server or over the service that has an embedded store."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping

from monitor.errors import BadInput, MonitorError
from monitor.serve.dashboard import DashboardFailed, log_of, start_dashboard, stop_dashboard, wait_until_ready
from monitor.serve.login import refuse_open
from monitor.serve.ports import address, free_port
from monitor.settings import Settings
from monitor.store.client import server_address
from monitor.store.owner import find_owner
from monitor.store.reader import reader_url

_LOOK_S = 0.5


def run_dashboard(settings: Settings, *, host: str, on_ready: Callable[[Mapping[str, str]], None]) -> None:
    """Show the pages until SIGINT or SIGTERM; `on_ready` is called with the addresses once the page answers.

    A store that is away is no reason not to start: the pages say so, and find it when it is back.

    Raises
    ------
    BadInput
        If the store is embedded, and no service has it.
    ConfigError
        If everybody could see the pages, and nobody said that this is wanted.
    MonitorError
        If the dashboard does not start, or ends by itself.
    """
    refuse_open(settings, host)
    store = _store(settings)
    api = settings.dashboard.api_url.rstrip("/") or _api(settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    port = free_port(host, settings.collectors.dashboard_port, "the dashboard", "--dashboard-port")
    addresses = {"dashboard": f"http://{address(host, port)}", "store": server_address(store)}
    if api:
        addresses["api"] = api
    try:
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)  # its log, and the key of its sessions
    except OSError as error:
        raise MonitorError(
            f"the data folder {settings.data} cannot be made: {error.strerror}; choose another with --data"
        ) from None
    child = start_dashboard(store, api_url=api, settings=settings, host=host, port=port)
    try:
        wait_until_ready(child, addresses["dashboard"], log_of(settings))
        on_ready(addresses)
        while not stop.wait(_LOOK_S):
            # Whoever supervises this process has to hear of it.
            if child.poll() is not None:
                raise DashboardFailed(f"the dashboard ended with code {child.returncode}; see {log_of(settings)}")
    except DashboardFailed:
        if not stop.is_set():  # Ctrl-C in a terminal reaches the child, too
            raise
    finally:
        stop_dashboard(child)


def _store(settings: Settings) -> str:
    if settings.embedded and find_owner(settings.data) is None:
        raise BadInput(
            f"no service has the data folder {settings.data}, and the dashboard reads an embedded store through the one that"
            " has it; start `monitor up`, or name a ClickHouse server (or the endpoint of a running `monitor up`) in store.url"
        )
    return reader_url(settings)


def _api(settings: Settings) -> str:
    """The collectors of the service that has the embedded store."""
    owner = find_owner(settings.data) if settings.embedded else None
    return owner.addresses.get("http", "") if owner is not None else ""
