"""The official OpenTelemetry packages for JavaScript, and sending through them.

`npm ci` installs once what `tests/clients/javascript/package-lock.json` pins; it names no registry, so the one that npm
is set up for is asked, and the hashes in it hold whoever answers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.tools import node
from tests.tools.clickhouse_library import cache_folder
from tests.tools.service import environment

SOURCES = Path(__file__).parents[1] / "clients" / "javascript"
SCRIPT = SOURCES / "send.mjs"
LOCKS = ("package.json", "package-lock.json")


def packages() -> Path:
    """Folder that holds `node_modules`; fetched once, about 45 MB."""
    digest = hashlib.sha256(b"".join((SOURCES / name).read_bytes() for name in LOCKS)).hexdigest()
    path = cache_folder() / f"javascript-{digest[:16]}"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    print("fetching the OpenTelemetry packages for JavaScript for the tests with real clients …", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / "part"
        part.mkdir()
        for name in LOCKS:
            shutil.copy(SOURCES / name, part)
        command = [node.npm(), "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=part, check=True)
        if not path.exists():  # another run may have been faster
            part.replace(path)
    return path


def send(endpoint: str, *, signal: str, transport: str, gzip: bool, what: Mapping[str, Any]) -> Any:
    """Send through the official SDK and exporter; what `send.mjs` printed.

    Parameters
    ----------
    endpoint : str
        `http://host:port`, of the receiver that speaks the transport.
    signal : str
        `traces`, `logs` or `metrics`.
    transport : str
        `proto` and `json` (over HTTP), or `grpc`.
    what : mapping
        What to send, as `send.mjs` describes it.

    Raises
    ------
    AssertionError
        If anything of it was not taken; the message is what the SDK said.
    """
    order = {"endpoint": endpoint, "signal": signal, "transport": transport, "gzip": gzip, **what}
    done = subprocess.run(
        [node.node(), str(SCRIPT)],
        input=json.dumps(order),
        env=environment({"PACKAGES": str(packages())}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{signal} by {transport}: {done.stderr}"
    return json.loads(done.stdout)


if __name__ == "__main__":
    print(packages())
