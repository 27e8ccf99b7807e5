"""The whole ClickHouse engine as a shared library, for starting real servers in tests.

It is in a package of the npm registry, which `npm pack` fetches.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.tools import node

VERSION = "26.7.3-stable.1"
CPU = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine().lower()]
OS = {"linux": "linux", "darwin": "darwin"}[sys.platform]
PACKAGE = f"@chdb/lib-{OS}-{CPU}{'-gnu' if OS == 'linux' else ''}@{VERSION}"


def cache_folder() -> Path:
    given = os.environ.get("MONITOR_CLICKHOUSE_LIB_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "inference-monitor"


def library() -> Path:
    """Path of the library; fetched once, about 180 MB."""
    path = cache_folder() / f"clickhouse-{VERSION}-{CPU}" / "libchdb.so"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching {PACKAGE} for the tests on a real ClickHouse server …", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        command = [node.npm(), "pack", "--silent", PACKAGE]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        archive = next(Path(folder).glob("*.tgz"))
        part = Path(folder) / "part"
        with tarfile.open(archive) as tar, part.open("wb") as out:
            source = tar.extractfile("package/libchdb.so")
            assert source is not None, f"{PACKAGE} holds no libchdb.so"
            shutil.copyfileobj(source, out, 1 << 22)
        part.replace(path)
    return path


if __name__ == "__main__":
    print(library())
