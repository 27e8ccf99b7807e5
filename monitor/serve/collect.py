"""`monitor collect`: collectors alone, in front of a ClickHouse server or cluster; any number of them side by side."""

from __future__ import annotations

import contextlib
import logging

from monitor.errors import BadInput
from monitor.serve.ports import address, bind, free_port, port_of
from monitor.serve.up import OnReady, open_store, serve, start_collectors
from monitor.settings import Settings
from monitor.store import adopt

logger = logging.getLogger(__name__)


def run_collect(settings: Settings, *, on_ready: OnReady) -> None:
    """Collect until SIGINT or SIGTERM; `on_ready` is called with the addresses once both answer.

    Raises
    ------
    BadInput
        If the store is embedded: it belongs to one process, which is `monitor up`.
    MonitorError
        If something cannot be started; nothing is left running then.
    """
    if settings.embedded:
        raise BadInput(
            "collectors of their own need a ClickHouse server, and the store is the embedded one, which one process alone"
            " can open; set store.url to http://user:password@host:8123/database, or run `monitor up`, which collects too"
        )
    serve(settings, lambda stack: _start(settings, stack), on_ready)


async def _start(settings: Settings, stack: contextlib.AsyncExitStack) -> dict[str, str]:
    section = settings.collectors
    http_socket = stack.enter_context(bind(section.host, section.http_port, "OTLP/HTTP", "--http-port"))
    grpc_port = free_port(section.host, section.grpc_port, "OTLP/gRPC", "--grpc-port")
    store = await open_store(settings, stack)
    # Collectors come and go by the dozen; carrying history over is for one who is asked to.
    if missing := adopt.unfinished(store):
        logger.warning("history is not yet in the facts of %s; run `monitor migrate`", ", ".join(missing))
    port = await start_collectors(settings, stack, store, http_socket, grpc_port)
    return {
        "grpc": address(section.host, port),
        "http": f"http://{address(section.host, port_of(http_socket))}",
    }
