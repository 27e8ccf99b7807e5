"""Keeps the SDK from ever hurting the code it watches.

Inner errors are logged once per place and swallowed. With the environment variable `MONITOR_SDK_RAISE` set
(our own tests set it) they are raised again, so that a defect shows itself instead of hiding behind the
guard.
"""

from __future__ import annotations

import logging
import os

log = logging.getLogger("monitor.sdk")

_said: set[str] = set()


def swallow(where: str) -> None:
    """Handle the exception now being handled: log it once per place, or raise it again under test."""
    if os.environ.get("MONITOR_SDK_RAISE"):
        raise
    once(
        "swallow " + where,
        logging.ERROR,
        f"monitor: internal error while {where}; the call itself is unaffected",
        True,
    )


def refuse(key: str, error: Exception) -> None:
    """Say once what is wrong with what the caller gave, or raise it under test; `key` names the mistake."""
    if os.environ.get("MONITOR_SDK_RAISE"):
        raise error from None
    once("refuse " + key, logging.WARNING, str(error))


def once(key: str, level: int, message: str, with_traceback: bool = False) -> None:
    """Log a message the first time its key comes by; serving code makes thousands of calls a second."""
    if key not in _said:
        _said.add(key)
        log.log(level, message, exc_info=with_traceback)


def forget() -> None:
    """Say things again after a new `init`: its user has not seen them."""
    _said.clear()
