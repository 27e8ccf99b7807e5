"""What was asked a moment ago, kept for some seconds and shared by all sessions: small answers, few of them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Final

_NOTHING: Final = object()


class Memory:
    """Answers by question; the oldest go first, and none is older than `ttl_s`. Safe for threads.

    Parameters
    ----------
    ttl_s : float
        Seconds for which an answer holds.
    entries_max : int
        Answers kept at most.
    """

    def __init__(self, *, ttl_s: float, entries_max: int) -> None:
        self._ttl_s, self._entries_max = ttl_s, entries_max
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    def get(self, question: Hashable, otherwise: Any = None) -> Any:
        """The answer, or `otherwise`."""
        with self._lock:
            until, answer = self._kept.get(question, (0.0, _NOTHING))
            return otherwise if until < time.monotonic() else answer

    def put(self, question: Hashable, answer: Any) -> None:
        now = time.monotonic()
        with self._lock:
            self._kept[question] = now + self._ttl_s, answer
            self._kept.move_to_end(question)
            while len(self._kept) > self._entries_max or next(iter(self._kept.values()))[0] < now:
                self._kept.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)
