"""How often one client may come: a token bucket for each, in bounded memory."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

CLIENTS_MAX: Final = 10_000
_NAME_CHARS_MAX: Final = 64
_V6_PREFIX: Final = 64  # what one household has; single addresses cost nothing


class Buckets:
    """For one event loop.

    Parameters
    ----------
    rate, burst
        Requests a second on average, and at once after a pause.
    clients_max
        Buckets kept; the one that was not asked for longest is forgotten first, which makes it full again.
    clock
        Seconds that never go back.
    """

    def __init__(
        self,
        *,
        rate: float,
        burst: int,
        clients_max: int = CLIENTS_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._clients_max = clients_max
        self._clock = clock
        # Client -> tokens, and when they were counted; the latest asked for is last.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take one token of this client's: 0 if there was one, else the seconds until there is."""
        now = self._clock()
        tokens, counted = self._buckets.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - counted) * self._rate)
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._buckets[client] = (tokens if wait_s else tokens - 1, now)
        if len(self._buckets) > self._clients_max:
            self._buckets.popitem(last=False)
        return wait_s

    def __len__(self) -> int:
        """Clients that are remembered."""
        return len(self._buckets)


def client_of(host: str) -> str:
    """Whom an address belongs to: itself, or for IPv6 its network."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:_NAME_CHARS_MAX]  # of a proxy, which may say anything
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.IPv6Network((int(address), _V6_PREFIX), strict=False))
    return host
