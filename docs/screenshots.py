"""Make the screenshots in docs/screenshots from a real service with the demo's hour in it: `make screenshots`."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from collectors.simulate.history import load_history
from monitor.store.client import connect
from tests.dashboards.browsing import Visit, chromium
from tests.tools.service import running

FOLDER = Path(__file__).parent / "screenshots"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "data", "dashboard") as service,
        chromium() as browser,
    ):
        load_history(endpoint=service.addresses["grpc"])
        service.wait_until_stored()
        client = connect(service.addresses["clickhouse"])
        trace = client.command("SELECT TraceId FROM otel_traces GROUP BY TraceId HAVING count() = 3 LIMIT 1")
        client.close()
        pages = {
            "overview": "/",
            "latency": "/latency?by=variant",
            "traces": "/traces",
            "trace": f"/traces?trace={trace}",
        }
        for scheme in ("light", "dark"):
            for name, path in pages.items():
                visit = Visit(browser, scheme=scheme)
                visit.open(f"{service.addresses['dashboard']}{path}")
                picture = Image.open(io.BytesIO(visit.whole())).convert("RGB")
                # Few colours: a third of the size, and no difference to be seen.
                picture.quantize(128).save(FOLDER / f"{name}-{scheme}.png", optimize=True)
                assert not (wrong := visit.close()), wrong


if __name__ == "__main__":
    main()
