"""The dashboard file for Grafana: each statement runs on both engines with the plugin's macros expanded, over real rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from monitor.store import Client

FILE = Path(__file__).parents[1] / "deploy" / "grafana" / "inference-monitor.json"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
START, END = int(NOW.timestamp()) - 6 * 3600, int(NOW.timestamp())
STEP_S = 60


def dashboard() -> dict[str, Any]:
    return dict(json.loads(FILE.read_text(encoding="utf-8")))


def statements(tree: Any) -> Iterator[tuple[str, str]]:
    """Where each is, and the statement: of panels, annotations and variables."""
    for panel in tree["panels"]:
        for target in panel.get("targets", ()):
            assert target["datasource"]["type"] == "grafana-clickhouse-datasource"
            assert target["format"] == (0 if panel["type"] == "timeseries" else 1)
            yield panel["title"], target["rawSql"]
    for annotation in tree["annotations"]["list"]:
        yield annotation["name"], annotation["target"]["rawSql"]
    for variable in tree["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]


def expanded(sql: str) -> str:
    """As the plugin sends it."""
    sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 >= toDateTime({START}) AND \1 <= toDateTime({END})", sql)
    sql = re.sub(r"\$__timeInterval\((\w+)\)", rf"toStartOfInterval(toDateTime(\1), INTERVAL {STEP_S} second)", sql)
    sql = sql.replace("$__interval_s", str(STEP_S))
    sql = sql.replace("${service:singlequote}", "'chat','it''s'").replace("${model:singlequote}", "'llama'")
    assert "$" not in sql, f"an unknown macro in: {sql}"
    return sql


def fill(client: Client) -> None:
    """A row of each table that is asked."""
    at = NOW - timedelta(minutes=5)
    names = ["period", "service", "model", "node", "version", "calls__n", "calls__w", "errors__w", "cancelled_calls__w", "input_tokens_known__wx", "output_tokens_known__wx"]  # fmt: skip
    for table in ("inferences_1m", "inferences_1h"):
        client.insert(table, [[at, "chat", "llama", "n1", 1, 120, 120.0, 6.0, 3.0, 6000.0, 1200.0]], column_names=names)
    kpis = ["latency.ttft.p50", "latency.ttft.p95", "latency.tpot.p95", "latency.e2e.p99", "accuracy.estimated", "safety.flagged_rate"]  # fmt: skip
    client.insert(
        "kpi_results",
        [[at, 300, name, "s", {}, 0.5, 0.4, 0.6, 10, 1] for name in kpis],
        column_names=["window_end", "window_s", "name", "unit", "grp", "value", "low", "high", "n", "version"],
    )
    client.insert("cost_results", [[at.replace(minute=0), "chat", "llama", "token", 2_500_000_000, 1]], column_names=["hour", "service", "model", "kind", "cost", "version"])  # fmt: skip
    client.insert("gpu_samples", [[at, "n1", "g0", 0.5, 1e9, 300.0]], column_names=["timestamp", "node", "gpu", "busy", "memory_used_bytes", "power_w"])  # fmt: skip
    client.insert("job_runs", [["rollup", "t", "succeeded", at, 1.0]], column_names=["job", "token", "state", "started_at", "duration_s"])  # fmt: skip
    client.insert("changes", [[at, "deploy", "v2", "ann"]], column_names=["timestamp", "kind", "title", "author"])


def test_every_statement_answers_from_the_tables(store_client: Client) -> None:
    fill(store_client)
    found = {place: store_client.query(expanded(sql)) for place, sql in statements(dashboard())}
    assert len(found) >= 20
    of_now = {"service", "model"}  # variables look at the last 30 days of the server's clock
    empty = [place for place, result in found.items() if not result.result_rows and place not in of_now]
    assert empty == []
    assert found["Requests"].result_rows == [(120.0,)]
    assert found["Error rate"].result_rows == [(0.05,)]
    assert found["Cost"].result_rows == [(2.5,)]
    assert found["Requests per second by service"].result_rows[0][1:] == ("chat", 2.0)
    assert found["Accuracy, estimated, with its 95 % interval"].result_rows[0][1:] == (0.5, 0.4, 0.6)


def test_the_file_is_whole() -> None:
    tree = dashboard()
    ids = [panel["id"] for panel in tree["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in tree["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    assert {variable["name"] for variable in tree["templating"]["list"]} == {"datasource", "service", "model"}
