"""Who has a data folder: one process may, and it leaves word of where it can be reached.

The claim is a lock that the operating system drops when the process ends, however it ends, so a stale file never locks
anybody out.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monitor.errors import StoreError, StoreLocked

LOCK: Final = "service.lock"
WORD: Final = "service.json"


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The process that has the folder, and its addresses by name (`grpc`, `http`, `clickhouse`, `dashboard`)."""

    pid: int
    addresses: Mapping[str, str]


class Claim:
    """The lock on a data folder, held until `release` or the end of the process."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._fd: int | None = None
        try:
            data.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(data / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"the data folder {data} cannot be written: {error.strerror}; correct it, or choose another with --data"
            ) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise StoreLocked(_in_use(data)) from None
        self._fd = fd
        (data / WORD).unlink(missing_ok=True)

    def announce(self, addresses: Mapping[str, str]) -> None:
        """Leave word of where this process can be reached."""
        word = {"pid": os.getpid(), "addresses": dict(addresses)}
        temporary = self._data / f"{WORD}.new"
        temporary.write_text(json.dumps(word, indent=1), encoding="utf-8")
        temporary.replace(self._data / WORD)

    def release(self) -> None:
        if self._fd is not None:
            (self._data / WORD).unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None


def find_owner(data: Path) -> Owner | None:
    """The running process that has the folder and has said where it is; None if there is none."""
    try:
        fd = os.open(data / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read_word(data)
    finally:
        os.close(fd)
    return None


def _read_word(data: Path) -> Owner | None:
    try:
        word = json.loads((data / WORD).read_text(encoding="utf-8"))
        return Owner(pid=int(word["pid"]), addresses={str(k): str(v) for k, v in word["addresses"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _in_use(data: Path) -> str:
    owner = _read_word(data)
    if owner is None:
        return f"the data folder {data} is in use by another process that is starting; choose another with --data"
    where = " ".join(f"{name}={address}" for name, address in owner.addresses.items())
    return (
        f"the data folder {data} is in use by process {owner.pid}, which can be reached at {where};"
        " use that one, stop it, or choose another folder with --data"
    )
