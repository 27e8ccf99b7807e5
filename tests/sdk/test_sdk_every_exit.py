"""Whatever happens to calls, in whatever mixture: each ends in one span that tells the truth.

Calls are made by another process (`tests/tools/every_exit.py`): plain and asynchronous ones, in threads, in forked
children, and in children that a thread forks while others are in the midst of their calls.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tools.every_exit import ASYNC, PLACES, SYNC
from tests.tools.service import ROOT

WAYS = [(False, way) for way in SYNC] + [(True, way) for way in ASYNC]
CALL = st.tuples(st.sampled_from(WAYS), st.sampled_from(PLACES), st.lists(st.integers(1, 4), min_size=1, max_size=4))
# Clocks are read a little before and after: nanoseconds are rounded to float seconds and back.
ROUNDING_NS = 2


class Driver:
    """The process that makes the calls."""

    def __init__(self, path: Path) -> None:
        self.path = path
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.tools.every_exit", str(path)],
            cwd=ROOT,
            env={**environment, "MONITOR_SDK_RAISE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, plan: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """What the calls were, and the spans that came of them."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.path.write_text("")
        self.process.stdin.write(json.dumps(plan) + "\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], 60)[0]:
            os.killpg(self.process.pid, signal.SIGKILL)  # itself and its children, which may wait for each other
        answer = self.process.stdout.readline()
        assert answer, "the process that makes the calls has ended"
        return json.loads(answer), [json.loads(line) for line in self.path.read_text().splitlines()]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    driver = Driver(tmp_path_factory.mktemp("exits") / "spans.jsonl")
    yield driver
    assert driver.process.stdin is not None
    driver.process.stdin.close()
    assert driver.process.wait(20) == 0


def check(driver: Driver, calls: list[tuple[tuple[bool, str], str, list[int]]]) -> None:
    plan = [
        {"name": f"{number}", "is_async": is_async, "way": way, "place": place, "sizes": sizes}
        for number, ((is_async, way), place, sizes) in enumerate(calls)
    ]
    answer, spans = driver.run(plan)
    for process in answer["processes"]:
        calls_made = process["calls"]
        of_process = [span for span in spans if span["pid"] == process["pid"]]
        assert process["open_before"] == process["held"], "what is over must have ended before the SDK is shut down"
        assert (process["started"], process["ended"], process["open"]) == (calls_made, calls_made, 0), process
        assert (process["last_seq"], process["exported"], process["dropped"]) == (calls_made, calls_made, 0), process
        assert sorted(span["monitor.seq"] for span in of_process) == list(range(1, calls_made + 1))
    assert sum(process["calls"] for process in answer["processes"]) == len(calls) == len(spans)
    assert len({span["id"] for span in spans}) == len(spans)
    by_name = {span["session.id"]: span for span in spans}
    assert len(by_name) == len(answer["reports"]) == len(calls)
    for truth in answer["reports"]:
        tells_the_truth(by_name[truth["name"]], truth, plan[int(truth["name"])])


def tells_the_truth(span: dict[str, Any], truth: dict[str, Any], spec: dict[str, Any]) -> None:
    outcome = "error" if "error.type" in span else "cancelled" if span.get("monitor.cancelled") else "fine"
    assert outcome == truth["outcome"], (spec, span)
    if outcome == "error":
        assert span["error.type"].endswith(".Broken")
    expected = next((n for n in (truth["said"], truth["counted"], truth["chunks"] or None) if n is not None), None)
    assert span.get("gen_ai.usage.output_tokens") == expected, (spec, span)
    estimated = expected is not None and truth["said"] is None and truth["counted"] is None
    assert span.get("monitor.tokens_estimated", False) is estimated, (spec, span)
    for key, name in (("gen_ai.response.time_to_first_chunk", "ttft_ns"), ("monitor.largest_gap", "gap_ns")):
        if truth.get(name) is None:
            assert key not in span, (spec, span)
            continue
        low, high = truth[name]
        assert low - ROUNDING_NS <= span[key] * 1e9 <= high + ROUNDING_NS, (spec, span, truth)


@pytest.mark.parametrize("place", PLACES)
def test_each_way_out_in_each_place(driver: Driver, place: str) -> None:
    check(driver, [(way, place, [2, 1, 3]) for way in WAYS])


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(CALL, min_size=1, max_size=12))
def test_any_mixture(driver: Driver, calls: list[tuple[tuple[bool, str], str, list[int]]]) -> None:
    check(driver, calls)
