"""Waiting for what happens in another thread or process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

WAIT_S: Final = 30.0


def wait_until(
    done: Callable[[], bool], why_not: Callable[[], object] = lambda: "it took too long", timeout_s: float = WAIT_S
) -> None:
    """Return as soon as it is; fail with `why_not` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, why_not()
        time.sleep(0.01)
