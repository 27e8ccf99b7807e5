"""A C compiler, for the stand-in of NVIDIA's library: the one that is there, else Debian's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys


def find() -> str | None:
    """Path of a C compiler that is installed."""
    given = os.environ.get("CC")
    return given or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def install() -> None:
    if find() is not None:
        return
    if shutil.which("apt-get") is not None:
        sudo = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
        if not sudo or shutil.which("sudo") is not None:
            print("installing gcc for the tests of the GPU collector …", file=sys.stderr)
            quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run([*sudo, "apt-get", "update", "-q"], env=quiet, stdout=subprocess.DEVNULL, check=False)
            done = subprocess.run(
                [*sudo, "apt-get", "install", "-q", "-y", "--no-install-recommends", "gcc", "libc6-dev"],
                env=quiet, stdout=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            if done.returncode == 0:
                return
    sys.exit("the tests of the GPU collector need a C compiler; install gcc, or name one with CC=…")


if __name__ == "__main__":
    install()
