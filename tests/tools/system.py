"""What tests need of the system: a C compiler, a clock that can be bent, ZooKeeper. What is missing comes from Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def find_compiler() -> str | None:
    """Path of a C compiler that is installed."""
    given = os.environ.get("CC")
    return given or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def find_clock() -> Path | None:
    """Path of libfaketime for programs with threads."""
    return next((path for path in sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


def find_java() -> str | None:
    """Path of a Java that is installed."""
    return shutil.which("java")


def find_zookeeper() -> Path | None:
    """Path of ZooKeeper's library; it names those that it needs, which lie beside it."""
    path = Path("/usr/share/java/zookeeper.jar")
    return path if path.exists() else None


def install() -> None:
    """Install what is missing.

    Raises
    ------
    SystemExit
        If that is not possible here; it says what to do.
    """
    missing = [] if find_compiler() else ["gcc", "libc6-dev"]
    missing += [] if find_clock() else ["libfaketime"]
    missing += [] if find_java() else ["default-jre-headless"]
    missing += [] if find_zookeeper() else ["libzookeeper-java"]
    if missing and not _install(missing):
        sys.exit(f"the tests need {' '.join(missing)}; install them, and name another compiler with CC=…")


def _install(packages: list[str]) -> bool:
    sudo = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    if shutil.which("apt-get") is None or (sudo and shutil.which("sudo") is None):
        return False
    print(f"installing {' '.join(packages)} for the tests …", file=sys.stderr)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([*sudo, "apt-get", "update", "-q"], env=quiet, stdout=subprocess.DEVNULL, check=False)
    command = [*sudo, "apt-get", "install", "-q", "-y", "--no-install-recommends", *packages]
    return subprocess.run(command, env=quiet, stdout=subprocess.DEVNULL, check=False).returncode == 0


if __name__ == "__main__":
    install()
