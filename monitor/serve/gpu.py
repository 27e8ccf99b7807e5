"""The GPU collector beside the receivers, in one process: readings go into the log without a network in between."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from collectors.gpu.run import Collector, Options
from collectors.lane import Lane
from collectors.pipeline import Pipeline
from collectors.transport import Answer
from monitor.errors import MonitorError, Retryable
from monitor.settings import Settings

STOP_S = 20.0


class _Inside:
    """Hands requests to a lane of this process, from another thread than its event loop's."""

    def __init__(self, lane: Lane, loop: asyncio.AbstractEventLoop) -> None:
        self._lane = lane
        self._loop = loop

    def reachable(self, timeout_s: float) -> bool:
        return True

    def export(self, body: bytes, timeout_s: float) -> Answer:
        taken = asyncio.run_coroutine_threadsafe(self._lane.accept(body), self._loop)
        try:
            checked = taken.result(timeout_s)
        except TimeoutError:
            return Answer(verdict="retry", reason="the write-ahead log does not answer")
        except MonitorError as error:
            return Answer(verdict="retry" if isinstance(error, Retryable) else "refused", reason=str(error))
        return Answer(verdict="accepted", rejected_items=sum(checked.rejected.values()))

    def close(self) -> None:
        """Nothing is open."""


def start_gpu_collector(settings: Settings, stack: contextlib.AsyncExitStack, pipeline: Pipeline) -> None:
    """Read this machine's GPUs until the stack is left, if `gpu.enabled`.

    Raises
    ------
    BadInput
        If an address in the settings is none.
    """
    section = settings.gpu
    if not section.enabled:
        return
    options = Options(
        endpoint=section.endpoint or "this service",
        token=section.token.get_secret_value(),
        interval_s=section.interval_s,
        dcgm=section.dcgm_url,
        node=section.node,
    )
    inside = None if section.endpoint else _Inside(pipeline.lanes["metrics"], asyncio.get_running_loop())
    collector = Collector(options, inside)
    stop = threading.Event()
    thread = threading.Thread(target=collector.run, args=(stop,), name="gpu-collector", daemon=True)

    def end() -> None:
        stop.set()
        thread.join(STOP_S)

    thread.start()
    stack.push_async_callback(asyncio.to_thread, end)
