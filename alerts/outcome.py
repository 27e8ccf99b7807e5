"""What a channel can say of a message: taken, try later, never, or gone for good."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from monitor.errors import BadInput, Retryable


class TryLater(Retryable):
    """It may be taken later.

    Parameters
    ----------
    message : str
        Why, without any secret.
    retry_after_s : float, optional
        What the other side asked for.
    doubtful : bool
        Whether it may have been taken nevertheless: the connection broke after it was handed over.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, doubtful: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.doubtful = doubtful


class Refused(BadInput):
    """This message will never be taken."""


class Retired(Refused):
    """Nothing will ever be taken at this address again."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How one message goes out.

    Parameters
    ----------
    key : str
        Idempotency key: the same for each attempt.
    thread : str
        What messages on one incident of one group have in common.
    subject : str
        Stays the same within a thread.
    at : datetime
    timeout_s : float, optional
        Shorter than the channel's own.
    possibly_repeated : bool
        Whether an earlier attempt may have arrived.
    """

    key: str
    thread: str
    subject: str
    at: datetime
    timeout_s: float | None = None
    possibly_repeated: bool = False
