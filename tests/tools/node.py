"""Node and npm for the tests: those of the machine, else those of a Python wheel."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

NODE_REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "node.txt"
LEAST = (20, 6)  # what the OpenTelemetry packages of `tests/clients/javascript` want


def npm() -> str:
    """Path of an npm whose Node is new enough."""
    return _command("npm")


def node() -> str:
    """Path of a Node that is new enough."""
    return _command("node")


def _command(name: str) -> str:
    found = shutil.which(name)
    if found is not None and _is_new(shutil.which("node")):
        return found
    beside = Path(sys.executable).with_name(name)  # where pip puts the commands of a wheel
    if not beside.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(NODE_REQUIREMENTS)]
        subprocess.run(pip, check=True)
    return str(beside)


def _is_new(path: str | None) -> bool:
    if path is None:
        return False
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"v(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) >= LEAST
