"""The job `cost` on a real cluster of two shards: the same costs as on one server, and the ledger balanced over shards."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.jobs import cost
from monitor.jobs.job import Context
from monitor.kpis import Window, evaluate
from monitor.store.client import Client, connect
from monitor.store.prepare import prepare_store
from tests.jobs import workload
from tests.jobs.workload import END, NOW, SETTINGS, START
from tests.tools import clickhouse_server
from tests.tools.cluster import settings_for


def outcome(client: Client) -> list[object]:
    workload.store(client, workload.calls(300, weights=(1.0, 3.0)))
    context = Context(client=client, settings=SETTINGS, now=NOW)
    cost.run(context)
    cost.run(context)
    calls = client.query("SELECT trace_id, kind, source, cost FROM call_costs FINAL ORDER BY trace_id").result_rows
    nodes = client.query("SELECT hour, node, cost, used, idle FROM node_hours FINAL ORDER BY hour, node").result_rows
    hours = client.query(
        "SELECT kind, sum(cost), sum(requests) FROM cost_results FINAL GROUP BY kind ORDER BY kind"
    ).result_rows
    values = evaluate(client, ["cost"], window=Window(START, END), by=["model"])
    return [calls, nodes, hours, {(v.name, *v.group.values()): (v.n, v.value and round(v.value, 9)) for v in values}]


@pytest.mark.parametrize("backend_url", ["clickhouse"], indirect=True)
def test_two_shards_cost_what_one_server_does(tmp_path: Path, store_client: Client) -> None:
    wanted = outcome(store_client)
    with clickhouse_server.cluster(tmp_path / "cluster") as servers:
        settings = settings_for(tmp_path, servers, "costs")
        prepare_store(settings)
        client = connect(settings.store_url)
        found = outcome(client)
        client.close()
    assert found == wanted
