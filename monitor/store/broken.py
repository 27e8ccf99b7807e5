"""Parts that the engine could not write, and told nobody.

The ClickHouse in chDB (seen in 26.7 and 26.9) goes on when the system refuses a write to a file: with the disk full, an
insert or a merge ends as done, and leaves a part whose files are empty or cut off. A ClickHouse server fails the statement
instead. chDB counts the refused writes, though (`WriteBufferFromFileDescriptorWriteFailed`), so whoever wrote looks there
before they believe that their rows are stored. If the count has moved, the parts of that time are checked, and tables with
a broken one are loaded anew: the engine then sets broken parts aside (`system.detached_parts`), and takes those that a
merge had replaced back in, as long as it still has them (`old_parts_lifetime`, in `chdb.xml`).
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from monitor.errors import Retryable, StoreError
from monitor.store.client import Client, error_code, no_answer, reason, the_row

logger = logging.getLogger(__name__)

_EARLIER_S: Final = 2  # a part's time is its folder's, in whole seconds
_ATTACH_FOR_S: Final = 20.0
_NO_SUCH_PART: Final = 232
_ACCESS_DENIED: Final = 497
_FAILED: Final = (
    "ClickHouse could not write files, probably for lack of space on its disk;"
    " rows that it took meanwhile are looked for, and written again where they are missing"
)
# One at a time: what the first has put right, the others find whole.
_MENDING: Final = threading.Lock()


class WritesFailed(StoreError, Retryable):
    """The engine could not write files while the caller's rows were written; they may be lost, though it took them."""


class WriteWatch:
    """Says whether what was written through a client since the last look can be believed.

    For one thread at a time, as its client is. It looks where it must, at chDB: a server tells itself what it cannot write,
    and may also fail to write what is none of ours.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._watched = _is_chdb(client)
        self._since, self._failed = 0, 0
        if self._watched:
            try:
                self._since, self._failed = self._count()
            except Exception as error:
                if error_code(error) != _ACCESS_DENIED:
                    raise
                self._watched = False

    def look(self) -> None:
        """Return if no write failed since the last look; otherwise put the tables right first.

        Raises
        ------
        WritesFailed
            Once for each time that writes failed: rows that were taken meanwhile may be missing.
        StoreAway
            If it cannot be told.
        """
        if not self._watched:
            return
        now, failed = self._count()
        moved = failed not in (self._failed, 0)  # at 0 again it was started anew, and has loaded its tables
        if moved:
            self._mend(self._since - _EARLIER_S)
            if self._count()[1] != failed:
                # It goes on, so what was answered cannot be believed either: the next look begins anew.
                raise WritesFailed(_FAILED)
        self._since, self._failed = now, failed
        if moved:
            raise WritesFailed(_FAILED)

    def _mend(self, since: int) -> None:
        try:
            with _MENDING:
                mend(self._client, since)
        except Exception as error:
            if error_code(error) != _ACCESS_DENIED:
                raise
            logger.warning("whether all parts were written cannot be seen: %s", reason(error))

    def _count(self) -> tuple[int, int]:
        """The server's time, in Unix seconds, and how many writes to files failed since it started."""
        now, failed = the_row(
            self._client,
            "SELECT toUnixTimestamp(now()), sum(value) FROM system.events WHERE event = 'WriteBufferFromFileDescriptorWriteFailed'",
        )
        return int(now), int(failed)


def _is_chdb(client: Client) -> bool:
    """Embedded, or behind an HTTP interface of its own; by a setting that it has and a server has not."""
    return bool(the_row(client, "SELECT count() FROM system.settings WHERE name = 'chdb_client_name'")[0])


def mend(client: Client, since: int) -> list[str]:
    """Load tables anew that hold a broken part of this time (Unix seconds) or later; their names."""
    tables = sorted({table for table, part in _parts(client, since) if not _is_whole(client, table, part)})
    for table in tables:
        logger.error("table %s has parts that could not be written; it is loaded anew without them", table)
        client.command(f"DETACH TABLE `{table}`")
        _attach(client, table)
    return tables


def _parts(client: Client, since: int) -> list[tuple[str, str]]:
    rows = client.query(
        "SELECT table, name FROM system.parts WHERE database = currentDatabase() AND active"
        " AND modification_time >= toDateTime({since:UInt32})",
        parameters={"since": since},
    ).result_rows
    return [(str(table), str(name)) for table, name in rows]


def _is_whole(client: Client, table: str, part: str) -> bool:
    try:
        answer = client.command(f"CHECK TABLE `{table}` PART '{part}' SETTINGS check_query_single_value_result = 1")
    except Exception as error:
        if error_code(error) == _NO_SUCH_PART:  # merged meanwhile: the merge has read it
            return True
        raise
    if str(answer) not in ("0", "1"):
        raise no_answer()
    return str(answer) == "1"


def _attach(client: Client, table: str) -> None:
    """Put a table back, as soon as no statement of before has hold of it."""
    deadline = time.monotonic() + _ATTACH_FOR_S
    while True:
        try:
            client.command(f"ATTACH TABLE IF NOT EXISTS `{table}`")
        except Exception as error:
            if time.monotonic() > deadline:
                logger.error("table %s cannot be loaded; restart ClickHouse: %s", table, reason(error))
                raise
            time.sleep(0.05)
        else:
            return
