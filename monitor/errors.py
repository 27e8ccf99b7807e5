"""The one small tree of errors.

A message is one sentence that says what is wrong, where, and what to do about it. The type says whether the
same input can ever succeed: `BadInput` never will, `Retryable` may.
"""

from __future__ import annotations


class MonitorError(Exception):
    """Base of all errors that are meant to be read by people; the command line prints them without a traceback."""


class BadInput(MonitorError):
    """The same input will fail again."""


class ConfigError(BadInput):
    """A setting is unknown, of the wrong type, or impossible."""


class Retryable(MonitorError):
    """The same input may succeed later."""


class StoreError(MonitorError):
    """ClickHouse refused something, and trying again will not help."""


class StoreLocked(StoreError):
    """Another process has the embedded store open."""


class StoreAway(StoreError, Retryable):
    """ClickHouse does not answer, or is too busy to."""


class SchemaTooNew(StoreError):
    """The store was written by a newer release than this one."""


class PortBusy(MonitorError):
    """A port that should be listened on is taken."""
