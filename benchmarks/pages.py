"""What pages ask and take, and whether the dashboard's memory stays flat: `python -m benchmarks.pages --clickhouse URL --loads 1000`.

Over the store of a running `monitor up`, each page is run without a browser, for its questions; then a dashboard of its own
is visited by Streamlit's protocol, each time by somebody new, as often as said, and the memory of its process followed.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from clickhouse_connect.driver.httpclient import HttpClient
from streamlit.testing.v1 import AppTest

from benchmarks.visits import serving, visit
from dashboards import data, memory, navigation, store
from tests.endurance.memory import resident_bytes

MAIN: Final = Path(__file__).parents[1] / "dashboards" / "start" / "main.py"
LOADS_BETWEEN: Final = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clickhouse", required=True, help="address of the store, as `monitor up` prints it")
    parser.add_argument("--loads", type=int, default=1000, help="page loads for the memory's course; 0: none")
    parser.add_argument("--query", nargs="*", default=["live=false"], help="the view, such as range=24h")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    os.environ[store.STORE_URL_VARIABLE] = options.clickhouse
    view = dict(pair.split("=", 1) for pair in options.query)
    pages = [entry.file.removesuffix(".py") for entry in navigation.ENTRIES]
    load("overview", view)  # what is imported once is no page's
    print("| page | questions | of the store, ms | slowest, ms | all, ms |\n|---|---|---|---|---|")
    for page in pages:
        forget()
        with counting() as asked:
            began = time.perf_counter()
            load(page, view)
            took = time.perf_counter() - began
        times = [1e3 * each for each in asked]
        print(f"| {page} | {len(times)} | {sum(times):.0f} | {max(times):.0f} | {1e3 * took:.0f} |", flush=True)
    if options.loads:
        course(options.clickhouse, urlencode(view), options.loads)


def course(store_url: str, query: str, loads: int) -> None:
    """Visit the pages of a dashboard in turn, and print the memory of its process now and then."""
    paths = [entry.path for entry in navigation.ENTRIES]
    seen: list[tuple[int, float]] = []
    with serving(store_url) as (url, process):
        for number in range(loads + 1):
            if number % LOADS_BETWEEN == 0:
                seen.append((number, resident_bytes(process) / 1e6))
                print(f"{number} loads: {seen[-1][1]:.0f} MB", flush=True)
            visit(url, paths[number % len(paths)], query)
    settled = seen[len(seen) // 2 :]
    if len(settled) < 2:
        return
    slope = statistics.linear_regression([n for n, _ in settled], [mb for _, mb in settled]).slope
    print(f"second half: {settled[0][1]:.0f} to {settled[-1][1]:.0f} MB, {1000 * slope:+.1f} MB in 1,000 loads")


def load(page: str, view: dict[str, str]) -> None:
    """One page, as a new visitor sees it first."""
    test = AppTest.from_file(str(MAIN), default_timeout=120)
    for name, value in view.items():
        test.query_params[name] = value
    if page != "overview":
        test.switch_page(f"../pages/{page}.py")
    test.run()
    assert not test.exception, [each.value for each in test.exception]


def forget() -> None:
    """Ask everything anew."""
    memory.forget_all()
    store.forget()
    data.forget()


@contextmanager
def counting() -> Iterator[list[float]]:
    """Seconds of each statement that is sent meanwhile."""
    found: list[float] = []
    kept = {name: getattr(HttpClient, name) for name in ("query", "command")}

    def timed(question: Any) -> Any:
        def ask(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return question(*args, **kwargs)
            finally:
                found.append(time.perf_counter() - began)

        return ask

    for name, question in kept.items():
        setattr(HttpClient, name, timed(question))
    try:
        yield found
    finally:
        for name, question in kept.items():
            setattr(HttpClient, name, question)


if __name__ == "__main__":
    main()
