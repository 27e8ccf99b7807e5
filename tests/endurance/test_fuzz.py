"""The run of `tests.endurance.fuzz`, short enough for each change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.endurance import fuzz


@pytest.mark.parametrize("protocol", fuzz.PROTOCOLS)
def test_damaged_messages(clickhouse_url: str, tmp_path: Path, protocol: str) -> None:
    run = fuzz.fuzz_collector(tmp_path, clickhouse_url, protocol, messages=2000, seed=11)
    assert sum(run.answers.values()) == 2000
    # Most are refused, and some are still messages; otherwise the damage would test nothing.
    assert 0.02 < run.answers[{"grpc": "OK"}.get(protocol, "200")] / 2000 < 0.5
    assert run.good == 2000 // fuzz.GOOD_EVERY * fuzz.GOOD_SPANS
    assert run.growth < 1.25
