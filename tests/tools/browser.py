"""A Chromium for the browser tests: Debian's where apt-get is there, else Playwright's own download."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys


def find() -> str | None:
    """Path of a Chromium that is installed; None leaves the choice to Playwright."""
    given = os.environ.get("CHROMIUM")
    return given or shutil.which("chromium") or shutil.which("chromium-browser")


def install() -> None:
    if find() is not None:
        return
    if shutil.which("apt-get") is not None:
        sudo = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
        if not sudo or shutil.which("sudo") is not None:
            print("installing chromium for the browser tests …", file=sys.stderr)
            quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run([*sudo, "apt-get", "update", "-q"], env=quiet, stdout=subprocess.DEVNULL, check=False)
            done = subprocess.run(
                [*sudo, "apt-get", "install", "-q", "-y", "--no-install-recommends", "chromium"],
                env=quiet, stdout=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            if done.returncode == 0:
                return
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)


if __name__ == "__main__":
    install()
