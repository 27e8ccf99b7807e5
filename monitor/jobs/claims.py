"""The lease of a ClickHouse server, which any number of processes share.

Turns of a job are numbered: 1, 2, 3, … A process that wants the turn after the newest one *adds* a claim for it, and
adding is what the server itself allows once:

- Table `job_claims`, a MergeTree table: the insert carries the token `job:round`. The server writes the token into the
  table's account of inserts and puts the rows in place under one lock; a second insert with that token changes nothing.
  So the claim that the server committed first is the only row of its turn, and no clock says which it is. On a
  `Replicated…` table that account is a node in the Keeper, made in the transaction that commits the part, and so common
  to all replicas. On a cluster all claims of a job are on one shard (sharded by `job`, unpartitioned), so there is one
  account of them. Where a cluster's shard has copies that are not replicated, each copy has its own, and two processes
  that ask different copies may both win; that race is lost harmlessly, as jobs are idempotent.
- Where the server has a Keeper and `keeper_map_path_prefix` is set, the table `job_leases` (engine KeeperMap) instead:
  with `keeper_map_strict_mode` an insert of a key that is there is refused, by a compare-and-set in the Keeper.

Whoever added reads the newest row back, and has the turn if the row is its own (each try has a name of its own). What it
cannot see, it has not: where a replica that lags answers, nobody runs until the lease is over.

While it runs, the holder writes signs of life. Their age is measured by the server: `now64()` when a row is inserted and
`now64()` when it is read, and clocks of processes do not matter. (On a cluster these are two servers' clocks where
processes have different addresses; a difference between them shortens or lengthens the lease by as much.) A turn without
a sign for `lease_s` may be followed by the next. The holder counts its own lease by its monotonic clock from *before* it
sent the sign, so it stops before anybody may begin, unless it is suspended as a whole.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from monitor.jobs.lease import Last, State, Turn
from monitor.store import Client
from monitor.store.client import error_code, is_transient, reason

logger = logging.getLogger(__name__)

CLAIMS: Final = "job_claims"
KEEPER_MAP: Final = "job_leases"
_KEEPER_EXCEPTION: Final = 999
_NO_KEEPER: Final = 225
_STEPS: Final = 1_000_000  # signs of life in one turn: months of one each 10 s
# Longest wait for one's own row, where it is read from another replica than it was written to.
_READ_BACK_S: Final = (0.0, 0.05, 0.1, 0.2, 0.4)


class ClaimLease:
    """See the module. The connection is made when it is first needed: a server may be away when a process starts."""

    def __init__(self, connect: Callable[[], Client], *, holder: str, lease_s: float) -> None:
        self.lease_s = lease_s
        self._connect = connect
        self._holder = holder
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._table = CLAIMS
        self._unseen: dict[str, tuple[int, float]] = {}

    @property
    def table(self) -> str:
        """Where claims are; known once the store was asked."""
        return self._table

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def last(self, job: str) -> Last | None:
        row = self._newest(job)
        return None if row is None else row[0]

    def take(self, job: str, after: Last | None) -> Turn | None:
        number = self._next_round(job, after)
        sent = time.monotonic()
        # A name of its own for each try: two threads of one process are two who ask.
        holder = f"{self._holder}:{secrets.token_hex(4)}"
        self._add(job, number, holder)
        for pause_s in _READ_BACK_S:
            threading.Event().wait(pause_s)  # `time.sleep` fails where libfaketime sets the clock
            row = self._newest(job)
            if row is not None and row[0].round >= number:
                break
        else:
            self._unseen.setdefault(job, (number, sent))
            return None
        last, claimed_ms = row
        if last.round != number or last.holder != holder or last.state != "running":
            return None
        self._trim(job, number)
        return Turn(job=job, round=number, holder=holder, valid_until=sent + self.lease_s, claimed_ms=claimed_ms)

    def _next_round(self, job: str, after: Last | None) -> int:
        """A server that died between its account and the row leaves a turn that nobody can ever claim: it is passed over."""
        number = 1 if after is None else after.round + 1
        unseen = self._unseen.get(job)
        if unseen is not None and unseen[0] != number:
            del self._unseen[job]
        elif unseen is not None and time.monotonic() - unseen[1] > self.lease_s:
            return number + 1
        return number

    def renew(self, turn: Turn) -> bool:
        sent = time.monotonic()
        if not self._has(turn):
            return False
        turn.step += 1
        self._write(turn, "running")
        turn.valid_until = sent + self.lease_s
        return True

    def end(self, turn: Turn, state: State) -> None:
        if self._has(turn):
            turn.step += 1
            self._write(turn, state)

    def _has(self, turn: Turn) -> bool:
        row = self._newest(turn.job)
        return row is None or (row[0].round <= turn.round and row[0].state == "running")

    def _newest(self, job: str) -> tuple[Last, int] | None:
        query = (
            "SELECT round, holder, state, claimed_ms, (now_ms - claimed_ms) / 1000, (now_ms - seen_ms) / 1000"
            f" FROM (SELECT *, toUnixTimestamp64Milli(now64(3)) AS now_ms FROM {self._ready().table}"
            " WHERE job = {job:String}) ORDER BY version DESC, claimed_ms, holder LIMIT 1"
        )
        for number, holder, state, claimed_ms, since_claim_s, since_sign_s in self._ask(query, job=job):
            last = Last(
                round=number,
                holder=holder,
                state=state,
                since_claim_s=max(0.0, since_claim_s),
                since_sign_s=max(0.0, since_sign_s),
            )
            return last, claimed_ms
        return None

    def _ask(self, query: str, **parameters: Any) -> list[Any]:
        return list(self._opened().query(query, parameters=parameters).result_rows)

    def _add(self, job: str, number: int, holder: str) -> None:
        values = {"job": job, "round": number, "step": 0, "holder": holder, "state": "running"}
        try:
            self._insert(values, once=True)
        except Exception as error:
            # It is there already, or the Keeper does not say whether it is: reading back does.
            if self._table != KEEPER_MAP or error_code(error) != _KEEPER_EXCEPTION:
                raise

    def _write(self, turn: Turn, state: State) -> None:
        values = {"job": turn.job, "round": turn.round, "step": turn.step, "holder": turn.holder, "state": state}
        self._insert({**values, "claimed_ms": turn.claimed_ms}, once=False)

    def _insert(self, values: dict[str, Any], *, once: bool) -> None:
        row = {**values, "version": values["round"] * _STEPS + values["step"]}
        settings: dict[str, Any] = {"async_insert": 0}
        key = f"{row['job']}:{row['round']}"
        client = self._opened()
        if self._table == KEEPER_MAP:
            row["key"] = key
            settings["keeper_map_strict_mode"] = int(once)
        else:
            settings["insert_deduplication_token"] = key if once else f"{key}:{row['step']}"
        client.insert(self._table, [list(row.values())], column_names=list(row), settings=settings)

    def _trim(self, job: str, number: int) -> None:
        """Old turns in the Keeper; merges see to those in a MergeTree table."""
        if self._table != KEEPER_MAP:
            return
        query = f"ALTER TABLE {KEEPER_MAP} DELETE WHERE job = {{job:String}} AND round < {{round:UInt64}}"
        try:
            self._opened().command(query, parameters={"job": job, "round": number})
        except Exception as error:  # another process trims as well
            logger.debug("old turns of %s stay for now: %s", job, reason(error))

    def _ready(self) -> ClaimLease:
        self._opened()
        return self

    def _opened(self) -> Client:
        with self._lock:
            if self._client is None:
                client = self._connect()
                self._table = KEEPER_MAP if make_keeper_map(client) else CLAIMS
                self._client = client
            return self._client


def make_keeper_map(client: Client) -> bool:
    """Make the table of claims in the Keeper, if the server has one for such tables; whether it is there."""
    if client.command(f"EXISTS TABLE {KEEPER_MAP}"):
        return True
    path = f"/inference-monitor/{client.database}/{KEEPER_MAP}"
    try:
        client.command(
            f"CREATE TABLE IF NOT EXISTS {KEEPER_MAP} (key String, job String, round UInt64, step UInt64, version UInt64,"
            " holder String, state String, claimed_ms Int64 DEFAULT toUnixTimestamp64Milli(now64(3)),"
            f" seen_ms Int64 DEFAULT toUnixTimestamp64Milli(now64(3))) ENGINE = KeeperMap('{path}') PRIMARY KEY key"
        )
    except Exception as error:
        # A Keeper that is away now must not make this process decide otherwise than those that reached it.
        if error_code(error) is None or (is_transient(error) and error_code(error) != _NO_KEEPER):
            raise
        logger.debug("no KeeperMap here, claims are in %s: %s", CLAIMS, reason(error))
        return False
    return True
