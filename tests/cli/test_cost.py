"""`monitor cost reprice`, as a person runs it: in a process of its own, on an embedded store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

STORE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from monitor.settings import load_settings
from monitor.store.client import connect
from monitor.store.prepare import prepare_store
settings = load_settings(data=Path(sys.argv[1]))
prepare_store(settings)
client = connect(settings.store_url)
now = datetime(2026, 3, 2, 10, 30, tzinfo=UTC)
rows = [[now, f"{i:032x}", f"{i:016x}", "somebody", "house-7b", "per_token", 1000, 100, 1.0] for i in range(1, 1001)]
client.insert("inferences", rows, column_names=["timestamp", "trace_id", "span_id", "provider", "model", "pricing",
    "input_tokens", "output_tokens", "duration_s"])
"""


def monitor(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "monitor.cli", *words], capture_output=True, text=True, timeout=120)


def test_repricing_from_the_command_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    subprocess.run([sys.executable, "-c", STORE, str(data)], check=True, timeout=120)
    book = tmp_path / "book.yaml"
    book.write_text("prices: {own: [{model: 'house-*', input: 2, output: 10}]}", encoding="utf-8")
    words = ("cost", "reprice", "--since", "2026-03-02", "--until", "2026-03-03", "--data", str(data))
    unpriced = monitor(*words)
    assert unpriced.returncode == 0, unpriced.stderr
    assert "before 0.00, now 0.00 USD" in unpriced.stdout
    for before in ("0.00", "3.00"):
        priced = monitor(*words, "--book", str(book))
        assert priced.returncode == 0, priced.stderr
        assert f"before {before}, now 3.00 USD" in priced.stdout
        assert "own " in priced.stdout
    said = monitor(
        "query",
        "SELECT sum(cost) AS c, any(book) AS b FROM cost_results FINAL",
        "--format",
        "JSONEachRow",
        "--data",
        str(data),
    )
    row = json.loads(said.stdout)
    assert int(row["c"]) == 3 * 10**9
    assert f"with {row['b']}" in priced.stdout


def test_wrong_periods_are_said(tmp_path: Path) -> None:
    found = monitor("cost", "reprice", "--since", "soon", "--data", str(tmp_path))
    assert found.returncode == 1
    assert found.stderr.startswith("monitor: `soon` is neither a time nor a duration")
