"""The loop: read every source at a steady pace, send what was read.

A source that is away is said once, and tried again at a slower pace; the other one goes on.
"""

from __future__ import annotations

import json
import logging
import math
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from collectors.gpu.dcgm import Dcgm
from collectors.gpu.metrics import Starts, node_of, request, resource
from collectors.gpu.nvml import Nvml
from collectors.gpu.readings import Reading, Sample, SourceAway, merged
from collectors.gpu.send import Sender, Sent
from collectors.transport import Transport, open_transport
from monitor.errors import BadInput, MonitorError, Retryable

logger = logging.getLogger(__name__)

TRY_AGAIN_S: Final = 30.0
SHORTEST_INTERVAL_S: Final = 0.1
LONGEST_INTERVAL_S: Final = 3600.0
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where to read and where to send.

    Parameters
    ----------
    endpoint : str
        OTLP receiver, `host:port` or a URL.
    protocol : str
        `grpc` or `http`; empty: http for port 4318 and for URLs with a path, grpc else.
    token : str
        Bearer token; empty: none.
    interval_s : float
        From one reading to the next, in seconds.
    dcgm : str
        Address of a DCGM exporter; empty: only NVML is read.
    node : str
        Name of this node, if serving code calls it something else than its host name.
    """

    endpoint: str = "http://127.0.0.1:4317"
    protocol: str = ""
    token: str = ""
    interval_s: float = 1.0
    dcgm: str = ""
    node: str = ""

    def transport(self) -> Transport:
        """To the receiver.

        Raises
        ------
        BadInput
            If the address is none.
        """
        parts = urlsplit(self.endpoint if "://" in self.endpoint else f"http://{self.endpoint}")
        is_http = parts.netloc.endswith(":4318") or parts.path.strip("/") != ""
        protocol = self.protocol or ("http" if is_http else "grpc")
        headers = {"user-agent": "inference-monitor-gpu"} if protocol == "http" else {}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        return open_transport(self.endpoint, protocol, headers, signal="metrics")


def parse_interval(text: str) -> float:
    """Seconds of `1s`, `500ms`, `2m` or a bare number of seconds.

    Raises
    ------
    BadInput
        If it is none, or not between 100 ms and an hour.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise BadInput(f"`{text}` is no interval; wanted something like 1s, 500ms or 2m")
    seconds = float(found[1]) * _UNITS[found[2]]
    if not SHORTEST_INTERVAL_S <= seconds <= LONGEST_INTERVAL_S:
        raise BadInput(f"an interval of `{text}` cannot be kept; wanted 100ms to 60m")
    return seconds


class Sources:
    """NVML and, if there is one, a DCGM exporter, read together. What NVML says of a device goes before what DCGM says."""

    def __init__(
        self, dcgm: str = "", *, timeout_s: float = 2.0, try_again_s: float = TRY_AGAIN_S, quiet: bool = False
    ) -> None:
        self._nvml = Nvml()
        # It counts XID errors on its own: both see the same ones.
        self._dcgm = Dcgm(dcgm, timeout_s=timeout_s) if dcgm else None
        self._try_again_s = try_again_s
        self._try_at_s: dict[str, float] = {}
        self._said: dict[str, str] = {}
        self._quiet = quiet

    def read(self) -> Sample:
        """Read both once. A source that was away is left alone for a while; each change of that is logged, once."""
        time_ns = time.time_ns()
        ours = self._attempt("NVML", self._nvml.read)
        theirs = self._attempt("DCGM", self._dcgm.read) if self._dcgm is not None else []
        return Sample(time_ns=time_ns, readings=merged(ours, theirs))

    @property
    def troubles(self) -> list[str]:
        """Why each source that is away is."""
        return [said for said in self._said.values() if said]

    def close(self) -> None:
        self._nvml.close()

    def _attempt(self, name: str, read: Callable[[], list[Reading]]) -> list[Reading]:
        if time.monotonic() < self._try_at_s.get(name, 0.0):
            return []
        before = self._said.get(name)
        try:
            readings = read()
        except SourceAway as error:
            self._said[name] = str(error)
            self._try_at_s[name] = time.monotonic() + self._try_again_s
            if before != str(error) and not self._quiet:
                logger.warning("no GPU readings by %s, trying again every %g s: %s", name, self._try_again_s, error)
            return []
        self._said[name] = ""
        if before != "" and not self._quiet:
            count = sum(not reading.parent for reading in readings)
            logger.info("reading %d GPU%s by %s", count, "" if count == 1 else "s", name)
        return readings


class Collector:
    """Reads and sends until it is stopped. `transport` is where to, instead of the options' endpoint.

    Raises
    ------
    BadInput
        If an address is none.
    """

    def __init__(self, options: Options, transport: Transport | None = None) -> None:
        self._interval_s = options.interval_s
        # A page that hangs may not cost NVML its turn.
        self._sources = Sources(options.dcgm, timeout_s=min(5.0, max(0.2, options.interval_s / 2)))
        self._who = resource(options.node)
        self._starts = Starts()
        self._sender = Sender(transport or options.transport(), endpoint=options.endpoint)

    @property
    def sent(self) -> Sent:
        return self._sender.sent

    def run(self, stop: threading.Event) -> Sent:
        """Read and send until `stop` is set; returns what became of the samples."""
        began_ns = time.time_ns()

        def one() -> None:
            sample = self._sources.read()
            if sample.readings:
                message = request(sample, self._who, self._starts, began_ns=began_ns)
                self._sender.put(message.SerializeToString())

        try:
            pace(self._interval_s, stop, one)
        finally:
            self._sources.close()
            sent = self._sender.close()
        return sent


def pace(interval_s: float, stop: threading.Event, work: Callable[[], None]) -> None:
    """Call `work` at the begin and then each `interval_s`, until `stop` is set. The times do not drift: a call that takes
    longer than the interval makes the next ones fall out, not move."""
    at_s = time.monotonic()
    while not stop.is_set():
        work()
        late = (time.monotonic() - at_s) / interval_s
        at_s += interval_s * max(1, math.ceil(late))
        stop.wait(max(0.0, at_s - time.monotonic()))


def read_once(options: Options) -> dict[str, Any]:
    """What all sources say now, for people and scripts.

    Raises
    ------
    MonitorError
        If no source says anything; why not.
    """
    sample, troubles = _read_once(options)
    return {
        "time_unix_ns": sample.time_ns,
        "node": node_of(resource(options.node)),
        "gpus": [reading.known() for reading in sample.readings],
        "troubles": troubles,
    }


def send_once(options: Options) -> int:
    """Read once and send it; returns how many devices were read.

    Raises
    ------
    MonitorError
        If nothing could be read, or the receiver did not take it.
    """
    sample, _ = _read_once(options)
    transport = options.transport()
    try:
        answer = transport.export(request(sample, resource(options.node), Starts()).SerializeToString(), 10.0)
    finally:
        transport.close()
    if answer.verdict != "accepted" or answer.rejected_items:
        raise Retryable(
            f"{options.endpoint} did not take the readings ({answer.reason}); check the address, --protocol and --token"
        )
    return len(sample.readings)


def to_json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2)


def _read_once(options: Options) -> tuple[Sample, list[str]]:
    sources = Sources(options.dcgm, timeout_s=5.0, quiet=True)
    try:
        sample = sources.read()
    finally:
        sources.close()
    if not sample.readings:
        reasons = "; ".join(sources.troubles) or "NVML answers, but knows no GPU"
        raise MonitorError(f"no GPU can be read: {reasons}")
    return sample, sources.troubles
