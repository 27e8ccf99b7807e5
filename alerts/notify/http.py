"""POST to an address of the configuration, and to no other place: what an attacker behind a webhook's address could reach.

The name is resolved once; all addresses that it leads to are checked, and the connection goes to the one that was checked
(a second look-up could give another). Redirects are not followed, proxies of the environment are not asked.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError

from alerts.outcome import Refused, TryLater

_ANSWER_BYTES: Final = 4096
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Status, and the beginning of the body."""

    status: int
    text: str
    retry_after_s: float | None


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout_s: float,
    allow: Sequence[str] = (),
    ca_file: Path | None = None,
) -> Answer:
    """Send it once.

    Raises
    ------
    Refused
        If the address leads to a place that is not allowed, or its certificate is not trusted.
    TryLater
        If there is no answer.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = checked_address(host, port, allow)
    timeout = urllib3.Timeout(total=timeout_s)
    pool: urllib3.HTTPConnectionPool
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        pool = urllib3.HTTPSConnectionPool(
            str(address),
            port,
            timeout=timeout,
            maxsize=1,
            ssl_context=context,
            server_hostname=host,
            assert_hostname=host,
        )
    else:
        pool = urllib3.HTTPConnectionPool(str(address), port, timeout=timeout, maxsize=1)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    named = f"[{host}]" if ":" in host else host
    standard = parts.port is None
    sent = {**headers, "Host": named if standard else f"{named}:{port}", "User-Agent": "inference-monitor"}
    try:
        with pool:
            answer = pool.urlopen(
                "POST", path, body=body, headers=sent, retries=False, redirect=False, preload_content=False
            )
            text = answer.read(_ANSWER_BYTES).decode("utf-8", "replace")
            found = Answer(
                status=answer.status, text=text, retry_after_s=_retry_after(answer.headers.get("Retry-After"))
            )
            answer.close()
            return found
    except (ConnectTimeoutError, NewConnectionError) as error:
        raise TryLater(f"{host} does not answer ({_kind(error)})") from None
    except SSLError as error:
        if isinstance(error.args[0] if error.args else None, ssl.SSLCertVerificationError):
            raise Refused(f"the certificate of {host} is not trusted; set `ca_file`, or correct the address") from None
        raise TryLater(f"TLS with {host} fails ({_kind(error)})") from None
    except (HTTPError, OSError) as error:
        # It was handed over; whether it was taken nobody knows.
        raise TryLater(f"the connection to {host} broke ({_kind(error)})", doubtful=True) from None


def checked_address(host: str, port: int, allow: Sequence[str]) -> Address:
    """The address that the name leads to, if all that it leads to are public ones, or allowed.

    Raises
    ------
    Refused
        If one of them is private, loopback, link-local (as the metadata services of clouds are) or reserved.
    TryLater
        If the name cannot be resolved now.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise TryLater(f"the name {host} cannot be resolved") from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    networks = [ipaddress.ip_network(network) for network in allow]
    for address in addresses:
        inner = _inner(address)
        public = inner.is_global and not inner.is_multicast
        if not public and not any(each in network for network in networks for each in (address, inner)):
            raise Refused(
                f"{host} leads to {address}, which is no public address; add it to `allow` of the channel if it is meant"
            )
    return addresses[0]


def _inner(address: Address) -> Address:
    """The IPv4 address in an IPv6 one that only carries it."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    carried = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    return address if carried is None else carried


def _retry_after(text: str | None) -> float | None:
    """Seconds; a date is rare, and read as one."""
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        from datetime import UTC, datetime

        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _kind(error: BaseException) -> str:
    """Name of the error; its text may hold the address, which is a secret."""
    return type(error).__name__.removesuffix("Error")
