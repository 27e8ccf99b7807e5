"""Whether the store is there: brought up to date as soon as it answers, and asked for signs of life from then on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

from monitor.errors import MonitorError, StoreAway
from monitor.settings import Settings
from monitor.store.client import Client, connect, explained, reason, server_address
from monitor.store.prepare import prepare_store

logger = logging.getLogger(__name__)

ANSWER_S: Final = 5.0
EVERY_S: Final = 1.0

T = TypeVar("T")


class Heartbeat:
    """Asks all the while, so that `/readyz` answers at once, however the store hangs.

    Parameters
    ----------
    settings : Settings
    on_open : callable, optional
        What to do with a store that was just brought up to date.

    Attributes
    ----------
    store : Client or None
        A handle of the store, for signs of life alone: a thread that waits for longer would hold up stopping. None while
        a server was never reached.
    trouble : str or None
        What was wrong at the last look, in words.
    """

    def __init__(self, settings: Settings, *, on_open: Callable[[Client], None] | None = None) -> None:
        self.store: Client | None = None
        self.trouble: str | None = None
        self._settings = settings
        self._on_open = on_open

    async def start(self) -> None:
        """Bring the store up to date. A server that is away may come: what is sent meanwhile waits in the log.

        Raises
        ------
        MonitorError
            If the store refuses, or the embedded one cannot be opened.
        """
        try:
            self.store = await asyncio.to_thread(self._open)
        except StoreAway as error:
            if self._settings.embedded:
                raise
            self.trouble = str(error)
            logger.warning("starting without the store, which is tried again: %s", error)

    def close(self) -> None:
        if self.store is not None:
            self.store.close()

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Look at the store again and again until the `with` is left."""
        task = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _open(self) -> Client:
        prepare_store(self._settings)
        if self._on_open is not None:
            client = connect(self._settings.store_url)
            with contextlib.closing(client), explained(server_address(self._settings.store_url)):
                self._on_open(client)
        return connect(self._settings.store_url, timeout_s=ANSWER_S)

    async def _beat(self) -> None:
        while True:
            self.trouble = await (self._open_late() if self.store is None else self._ask(self.store))
            await asyncio.sleep(EVERY_S)

    async def _open_late(self) -> str | None:
        try:
            self.store = await _in_thread(self._open)
        except MonitorError as error:
            return str(error)
        except Exception as error:
            return f"ClickHouse cannot be brought up to date: {reason(error)}"
        logger.info("the store is there, and up to date")
        return None

    async def _ask(self, store: Client) -> str | None:
        try:
            await asyncio.wait_for(asyncio.to_thread(store.command, "SELECT 1"), ANSWER_S)
        except TimeoutError:
            return f"ClickHouse has not answered for {ANSWER_S:.0f} s"
        except Exception as error:
            return f"ClickHouse does not answer: {reason(error)}"
        return None


async def _in_thread(work: Callable[[], T]) -> T:
    """Run it in a thread that the end of the process does not wait for: a store that hangs may take minutes."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is gone
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="store-opener", daemon=True).start()
    return await done
