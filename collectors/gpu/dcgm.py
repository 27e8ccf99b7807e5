"""Readings from the Prometheus page of a DCGM exporter.

The text format is read here, in a few lines, because a GPU node should not need one more package for it, and because
only samples of metrics in `gpu_semconv.DCGM` matter: everything else on the page is passed over unread.
"""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from collectors.gpu.readings import Reading, SourceAway, XidErrors, status_of
from monitor import gpu_semconv
from monitor.errors import BadInput
from monitor.gpu_semconv import Name, is_blank

MAX_PAGE_BYTES: Final = 16 * 1024 * 1024

_NAMES: Final[Mapping[str, Name]] = {name.metric: name for name in gpu_semconv.DCGM}
_SAMPLE: Final = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)[ \t]*(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t]*")
_LABEL: Final = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(r"\\(.)")


class Dcgm:
    """One exporter's page. `read` may be called by any one thread at a time.

    Parameters
    ----------
    url : str
        `http(s)://host:port`, with a path if it is not `/metrics`.
    timeout_s : float
        Longest wait for the page.
    xids : XidErrors, optional
        Where errors are counted: the page only tells the last one, so each change of it counts as one.
    """

    def __init__(self, url: str, *, timeout_s: float = 2.0, xids: XidErrors | None = None) -> None:
        self.url = page_url(url)
        self._timeout_s = timeout_s
        self._xids = xids if xids is not None else XidErrors()
        self._last_xid: dict[str, float] = {}

    def read(self) -> list[Reading]:
        """Read the page once.

        Raises
        ------
        SourceAway
            If it does not come, or is no DCGM exporter's.
        """
        text = self._fetch()
        readings = parse(text)
        if not readings:
            what = "has no GPU on it" if "DCGM_" in text else "is not a DCGM exporter's"
            raise SourceAway(f"the page {self.url} {what}; give the exporter's address with --dcgm (its port is 9400)")
        return [self._with_xids(reading) for reading in readings]

    def _fetch(self) -> str:
        parts = urlsplit(self.url)
        if parts.scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=self._timeout_s, context=ssl.create_default_context()
            )
        else:
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=self._timeout_s)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request(
                "GET", path, headers={"accept": "text/plain;version=0.0.4", "user-agent": "inference-monitor-gpu"}
            )
            response = connection.getresponse()
            body = response.read(MAX_PAGE_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise SourceAway(f"the DCGM exporter at {self.url} does not answer ({reason}); is it running?") from None
        finally:
            connection.close()
        if response.status != 200:
            raise SourceAway(
                f"the DCGM exporter at {self.url} answers {response.status} {response.reason}; is the path right?"
            )
        if len(body) > MAX_PAGE_BYTES:
            raise SourceAway(
                f"the page {self.url} is larger than {MAX_PAGE_BYTES // 1024 // 1024} MiB; is it a DCGM exporter's?"
            )
        return body.decode("utf-8", errors="replace")

    def _with_xids(self, reading: Reading) -> Reading:
        if reading.xid is not None and not reading.parent:
            before = self._last_xid.get(reading.gpu, reading.xid)
            self._last_xid[reading.gpu] = reading.xid
            if reading.xid not in (before, 0):
                self._xids.add(reading.gpu, int(reading.xid))
        counts = self._xids.counts(reading.gpu)
        return Reading(**{**vars(reading), "xid_errors": counts}) if counts else reading


def page_url(text: str) -> str:
    """The address of the page that a user's address means.

    Raises
    ------
    BadInput
        If it is none.
    """
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise BadInput(f"`{text}` is not the address of a DCGM exporter; wanted http://host:9400/metrics")
    return parts._replace(path=parts.path if parts.path not in ("", "/") else "/metrics").geturl()


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of each line of a page that has one; lines that make no sense are passed over."""
    for line in text.splitlines():
        name = line[: max(line.find("{"), 0)] or line.split(" ", 1)[0]
        if name.strip() not in _NAMES:  # comments too
            continue
        found = _SAMPLE.fullmatch(line)
        if found is None:
            continue
        try:
            value = float(found[3])
        except ValueError:
            continue
        yield found[1], {key: _ESCAPE.sub(_unescaped, said) for key, said in _LABEL.findall(found[2] or "")}, value


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]


def parse(text: str) -> list[Reading]:
    """Readings of the devices on a page, in its order. What it says of a whole GPU under the labels of a MIG instance is a
    reading of the GPU."""
    devices: dict[tuple[str, str], dict[str, Any]] = {}
    for metric, labels, value in samples(text):
        name = _NAMES[metric]
        uuid = _first(labels, gpu_semconv.DCGM_UUID)
        if not uuid and (index := _first(labels, gpu_semconv.DCGM_INDEX)):
            uuid = f"gpu {index}"
        if not uuid or is_blank(value) or (value < 0 and name.column not in gpu_semconv.SIGNED):
            continue
        instance = labels.get(gpu_semconv.DCGM_INSTANCE, "")
        own = "" if name.whole_gpu else instance
        device = devices.setdefault((uuid, own), _identity(uuid, own, labels, named=own == instance))
        # A GPU that several pods share is on the page once for each, with the same values.
        number = value * name.factor / name.per
        device[name.column] = max(number, device.get(name.column, number))
        if own == instance:
            for key, candidates in (("pod", gpu_semconv.DCGM_POD), ("namespace", gpu_semconv.DCGM_NAMESPACE)):
                device[key] = max(device[key], _first(labels, candidates))
    return [Reading(**device, status=_status(device)) for device in devices.values()]


def _status(device: Mapping[str, Any]) -> str:
    """The state, as far as the page tells: that a GPU is on it does not say that it is well."""
    remap = device.get("remap_failure", 0) > 0
    reasons = device.get("throttle_reasons")
    return status_of(remap=remap, throttle_reasons=reasons) if remap or reasons is not None else ""


def _identity(uuid: str, instance: str, labels: Mapping[str, str], *, named: bool) -> dict[str, Any]:
    host = _first(labels, gpu_semconv.DCGM_HOST)
    index = _first(labels, gpu_semconv.DCGM_INDEX)
    return {
        "gpu": f"{uuid}/{instance}" if instance else uuid,
        "index": int(index) if index.isdecimal() else None,
        "model": _first(labels, gpu_semconv.DCGM_MODEL),
        "parent": uuid if instance else "",
        "instance": int(instance) if instance.isdecimal() else None,
        "profile": labels.get(gpu_semconv.DCGM_PROFILE, "") if named else "",
        "node": "" if gpu_semconv.DCGM_EXPORTER in host else host,
        "driver": labels.get("DCGM_FI_DRIVER_VERSION", ""),
        "pod": "",
        "namespace": "",
    }


def _first(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")
