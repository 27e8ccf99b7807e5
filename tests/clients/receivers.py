"""Where real clients send to, and waiting until what they sent is stored."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tests.collectors.receiving import Receiving


@dataclass(frozen=True)
class Receivers:
    """Both receivers of one pipeline."""

    receiving: Receiving

    def endpoint(self, transport: str) -> str:
        """`http://host:port` of the one that speaks `grpc`, or else OTLP/HTTP."""
        return f"http://{self.receiving.grpc}" if transport == "grpc" else self.receiving.http

    def wait_stored(self) -> None:
        """Block until nothing waits in the write-ahead log."""
        deadline = time.monotonic() + 30
        pipeline = self.receiving.pipeline
        while any(lane.stats.snapshot().waiting for lane in pipeline.lanes.values()):
            assert time.monotonic() < deadline, pipeline.trouble()
            time.sleep(0.01)
