"""Make the screenshots in docs/screenshots from the demo, once its jobs have been over the history: `make screenshots`.

`python docs/screenshots.py http://127.0.0.1:8501 http://127.0.0.1:8123` takes them from a demo that runs: its dashboard, and its store.
"""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from monitor.store.client import connect
from tests.dashboards.browsing import Visit, chromium
from tests.tools.service import ROOT, command, environment

FOLDER = Path(__file__).parent / "screenshots"
PAGES = {
    "overview": "/?range=24h",
    "latency": "/latency?range=1h&by=node",
    "cost": "/cost?range=7d",
    "drift": "/drift?range=1h",
    "safety": "/safety?range=24h",
    "alerts": "/alerts?range=24h",
    "compare": "/compare",
    "traces": "/traces?range=1h",
}


@contextlib.contextmanager
def demo() -> Iterator[dict[str, str]]:
    """A demo that has loaded its history; its addresses."""
    ports = [part for name in ("grpc", "http", "clickhouse", "dashboard") for part in (f"--{name}-port", "0")]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            command("demo", "--data", str(Path(folder) / "data"), *ports),
            cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            addresses = dict(pair.split("=", 1) for pair in process.stdout.readline().split()[1:])
            for line in process.stdout:
                if line.startswith("jobs have been over the history"):
                    break
            yield addresses
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)


def take(dashboard: str, clickhouse: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    client = connect(clickhouse)
    trace = client.command("SELECT TraceId FROM otel_traces GROUP BY TraceId HAVING count() = 3 LIMIT 1")
    client.close()
    pages = {**PAGES, "trace": f"/traces?trace={trace}"}
    with chromium() as browser:
        for scheme in ("light", "dark"):
            for name, path in pages.items():
                visit = Visit(browser, scheme=scheme)
                visit.open(f"{dashboard}{path}")
                picture = Image.open(io.BytesIO(visit.whole())).convert("RGB")
                # Few colours: a third of the size, and no difference to be seen.
                picture.quantize(128).save(FOLDER / f"{name}-{scheme}.png", optimize=True)
                assert not (wrong := visit.close()), wrong
                print(name, scheme, picture.size, flush=True)


def main() -> None:
    if len(sys.argv) == 3:
        take(*sys.argv[1:])
        return
    with demo() as addresses:
        take(addresses["dashboard"], addresses["clickhouse"])


if __name__ == "__main__":
    main()
