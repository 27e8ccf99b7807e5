"""Memory and open files of another process."""

from __future__ import annotations

import contextlib
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path


def resident_bytes(pid: int) -> int:
    """Its resident set, now."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None, f"process {pid} says nothing of its memory"
    return int(found.group(1)) * 1024


def open_files(pid: int) -> int:
    """Its file descriptors, now."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@contextlib.contextmanager
def few_files(soft: int) -> Iterator[None]:
    """Processes that are started in the `with` may have so many files open until they ask for more.

    Or a few more than this one has: it starts them.
    """
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, open_files(os.getpid()) + 64), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
