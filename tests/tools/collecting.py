"""A real `monitor collect` in front of a real ClickHouse server, which keeps its ports over restarts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tests.tools.ports import free_port
from tests.tools.scene import read_metrics
from tests.tools.service import Service, spawn_collect, wait_until_ready


@dataclass
class Collecting:
    """One collector.

    Attributes
    ----------
    url : str
        Of the database that it writes to.
    """

    service: Service
    url: str
    _options: tuple[str, ...]
    _env: Mapping[str, str]

    def numbers(self) -> dict[str, int]:
        """Its page of metrics: name -> value, summed over labels."""
        return read_metrics(self.service.addresses["http"])

    def wait_until_stored(self, timeout_s: float = 120.0) -> None:
        """Until nothing of any signal waits in the log."""
        deadline = time.monotonic() + timeout_s
        while waiting := sum(count for name, count in self.numbers().items() if name.endswith("_waiting")):
            assert time.monotonic() < deadline, f"{waiting} items still wait: {self.service.ready()}"
            time.sleep(0.05)

    def restart(self) -> None:
        """Start it again, after it ended, on the same folder and ports."""
        data = self.service.data
        self.service = wait_until_ready(spawn_collect(data, *self._options, env=self._env), data)

    def log(self) -> str:
        return (self.service.data.parent / f"{self.service.data.name}.log").read_text()


@contextlib.contextmanager
def collecting(data: Path, server_url: str, *, database: str, **settings: str) -> Iterator[Collecting]:
    """A collector that writes to this database of a server, stopped at the end; `settings` are keys of `collectors`."""
    data.parent.mkdir(parents=True, exist_ok=True)
    url = urlunsplit(urlsplit(server_url)._replace(path=f"/{database}"))
    env = {"MONITOR_STORE__URL": url, **{f"MONITOR_COLLECTORS__{key.upper()}": text for key, text in settings.items()}}
    # The last one given wins.
    options = tuple(word for name in ("grpc", "http") for word in (f"--{name}-port", str(free_port())))
    service = wait_until_ready(spawn_collect(data, *options, env=env), data)
    running = Collecting(service, url, options, env)
    try:
        yield running
    finally:
        running.service.stop()
