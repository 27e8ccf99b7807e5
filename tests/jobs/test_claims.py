"""The lease of a server: claims in a MergeTree table, and in a Keeper (a real ZooKeeper) that two servers share."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from monitor.jobs.claims import CLAIMS, KEEPER_MAP, ClaimLease
from monitor.jobs.lease import Turn
from monitor.store.client import Client, connect
from monitor.store.cluster import LOCAL, Layout
from monitor.store.migrate import ensure_database, known_migrations, migrate
from tests.conftest import drop_database, make_database, with_database
from tests.tools import clickhouse_server, zookeeper

LEASE_S = 1.5


@dataclass
class Shared:
    """A store that leases share: addresses of its servers, and where its claims are."""

    urls: list[str]
    table: str

    def lease(self, name: str, server: int = 0) -> ClaimLease:
        return ClaimLease(lambda: connect(self.urls[server % len(self.urls)]), holder=name, lease_s=LEASE_S)

    def client(self, server: int = 0) -> Client:
        return connect(self.urls[server])


@pytest.fixture(scope="module")
def claims_store(clickhouse_url: str) -> Iterator[Shared]:
    name = make_database(clickhouse_url)
    url = with_database(clickhouse_url, name)
    client = connect(url)
    migrate(client)
    client.close()
    yield Shared([url], CLAIMS)
    drop_database(clickhouse_url, name)


@pytest.fixture(scope="module")
def keeper_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder: Path = tmp_path_factory.mktemp("keeper")
    with zookeeper.running(folder / "zookeeper") as port, clickhouse_server.cluster(folder, keeper=port) as servers:
        for server in servers:
            client = connect(server.url())
            ensure_database(client, "work")
            client.close()
        yield Shared([server.url("work") for server in servers], KEEPER_MAP)


@pytest.fixture(scope="module")
def cluster_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Two shards, without a Keeper: each process asks another of them."""
    layout = Layout(cluster=clickhouse_server.CLUSTER, on_cluster=False, replicated=False)
    jobs = [migration for migration in known_migrations() if migration.name == "jobs"]
    with clickhouse_server.cluster(tmp_path_factory.mktemp("cluster")) as servers:
        for server in servers:
            client = connect(server.url())
            ensure_database(client, "work")
            client.close()
            client = connect(server.url("work"))
            migrate(client, jobs, layout)
            client.close()
        yield Shared([server.url("work") for server in servers], CLAIMS)


@pytest.fixture(params=["claims_store", "cluster_store", "keeper_store"])
def shared(request: pytest.FixtureRequest) -> Shared:
    store: Shared = request.getfixturevalue(request.param)
    return store


@pytest.fixture
def job(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)[:40]


def at_once(work: list[Callable[[], None]]) -> None:
    barrier = threading.Barrier(len(work))

    def run(each: Callable[[], None]) -> None:
        barrier.wait()
        each()

    threads = [threading.Thread(target=run, args=(each,)) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_one_of_many_gets_each_turn(shared: Shared, job: str) -> None:
    """Half of them are one process's threads, and where there are two servers both are asked."""
    names = ["a", "a", "a", "b", "c", "d"]
    leases = [shared.lease(name, number) for number, name in enumerate(names)]
    won: Counter[int] = Counter()
    by: Counter[str] = Counter()
    rounds = 12
    for number in range(1, rounds + 1):
        last = leases[0].last(job)
        turns: list[tuple[ClaimLease, Turn]] = []

        def ask(lease: ClaimLease, turns: list[tuple[ClaimLease, Turn]] = turns, last=last) -> None:  # type: ignore[no-untyped-def]
            turn = lease.take(job, last)
            if turn is not None:
                turns.append((lease, turn))

        at_once([lambda lease=lease: ask(lease) for lease in leases])  # type: ignore[misc]
        assert len(turns) == 1, f"{len(turns)} have turn {number}"
        lease, turn = turns[0]
        won[turn.round] += 1
        by[turn.holder.partition(":")[0]] += 1
        newest = leases[-1].last(job)
        assert newest is not None
        assert (newest.round, newest.holder, newest.state) == (number, turn.holder, "running")
        lease.end(turn, "ok")
    assert won == dict.fromkeys(range(1, rounds + 1), 1)
    assert leases[0].table == shared.table
    print(shared.table, dict(by))
    for lease in leases:
        lease.close()


def test_a_turn_is_kept_by_signs_of_life_and_lost_without(shared: Shared, job: str) -> None:
    first, second = shared.lease("first"), shared.lease("second", 1)
    turn = first.take(job, None)
    assert turn is not None
    began = time.monotonic()
    while time.monotonic() - began < LEASE_S * 1.4:
        assert first.renew(turn)
        newest = second.last(job)
        assert newest is not None
        assert newest.state == "running"
        assert newest.since_sign_s < LEASE_S
        time.sleep(0.2)
    assert newest.since_claim_s > LEASE_S  # it began long ago, and lives
    silent = time.monotonic()
    while True:
        newest = second.last(job)
        assert newest is not None
        if newest.since_sign_s > LEASE_S:
            break
        assert time.monotonic() - silent < 3 * LEASE_S
        time.sleep(0.02)
    # By its own clock the first stopped before that.
    assert time.monotonic() > turn.valid_until
    taken = second.take(job, newest)
    assert taken is not None
    assert taken.round == turn.round + 1
    assert not first.renew(turn)
    first.end(turn, "ok")  # comes too late to change anything
    newest = second.last(job)
    assert newest is not None
    assert (newest.round, newest.state) == (taken.round, "running")
    second.end(taken, "failed")
    newest = first.last(job)
    assert newest is not None
    assert (newest.state, newest.since_sign_s < LEASE_S) == ("failed", True)
    first.close()
    second.close()


def test_a_turn_that_was_ended_is_free_at_once(shared: Shared, job: str) -> None:
    lease = shared.lease("a")
    first = lease.take(job, None)
    assert first is not None
    lease.end(first, "abandoned")
    last = lease.last(job)
    assert last is not None
    second = lease.take(job, last)
    assert second is not None
    assert (first.token, second.token) == (f"{job}:1", f"{job}:2")
    assert lease.take(job, last) is None  # by what was known before
    lease.close()


def test_the_table_stays_small(shared: Shared, job: str) -> None:
    lease = shared.lease("a")
    client = shared.client()
    for _ in range(10):
        turn = lease.take(job, lease.last(job))
        assert turn is not None
        assert lease.renew(turn)
        lease.end(turn, "ok")
    if shared.table == CLAIMS:
        for server in range(len(shared.urls)):
            local = shared.client(server)
            local.command(f"OPTIMIZE TABLE {CLAIMS}{LOCAL if len(shared.urls) > 1 else ''} FINAL")
            local.close()
    rows = client.query(f"SELECT round, state FROM {shared.table} WHERE job = {{job:String}}", parameters={"job": job})
    assert rows.result_rows == [(10, "ok")]
    last = lease.last(job)
    assert last is not None
    assert last.round == 10
    lease.close()
    client.close()


def test_a_turn_that_nobody_can_claim_is_passed_over(claims_store: Shared, job: str) -> None:
    """A server that dies between its account of inserts and the rows leaves a token without a row."""
    client = claims_store.client()
    row = ["another job", 1, 0, 1, "x", "ok"]
    columns = ["job", "round", "step", "version", "holder", "state"]
    client.insert(
        CLAIMS, [row], column_names=columns, settings={"insert_deduplication_token": f"{job}:1", "async_insert": 0}
    )
    lease = claims_store.lease("a")
    begun = time.monotonic()
    while (turn := lease.take(job, lease.last(job))) is None:
        assert time.monotonic() - begun < 4 * LEASE_S
    assert turn.round == 2
    assert time.monotonic() - begun > LEASE_S
    lease.close()
    client.close()
