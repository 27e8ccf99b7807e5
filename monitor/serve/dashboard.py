"""The dashboard as a child process: Streamlit has a runtime of its own, and the store is reached over HTTP."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from monitor.errors import MonitorError
from monitor.serve.login import LOGIN_VARIABLE, login_words
from monitor.settings import Settings

# Read by `dashboards.store` and `dashboards.api`.
STORE_URL_VARIABLE: Final = "INFERENCE_MONITOR_STORE_URL"
API_URL_VARIABLE: Final = "INFERENCE_MONITOR_API_URL"
API_TOKEN_VARIABLE: Final = "INFERENCE_MONITOR_API_TOKEN"
API_CERTIFICATE_VARIABLE: Final = "INFERENCE_MONITOR_API_CERTIFICATE"
START_TIMEOUT_S: Final = 30.0
# What pages import that takes long to load (1.8 s of 2): whoever opens the first page is not to wait for it.
_SLOW_TO_LOAD: Final = ("altair", "monitor.drift", "monitor.plan")


class DashboardFailed(MonitorError):
    """The dashboard did not start."""


def start_dashboard(
    store_url: str, *, api_url: str, settings: Settings, host: str, port: int
) -> subprocess.Popen[bytes]:
    """Start Streamlit; it writes to `log_of(settings)`, and ends when this process does.

    What it is told of secrets it is told by its environment, which no browser sees.
    """
    log = log_of(settings)
    environment = {**os.environ, STORE_URL_VARIABLE: store_url, API_URL_VARIABLE: api_url}
    for token in (settings.dashboard.api_token, *settings.collectors.tokens):
        if words := token.get_secret_value():
            environment[API_TOKEN_VARIABLE] = words
            break
    if words := login_words(settings, port=port):
        environment[LOGIN_VARIABLE] = words
    if certificate := settings.dashboard.api_certificate or settings.collectors.tls_cert:
        environment[API_CERTIFICATE_VARIABLE] = str(certificate)
    command = [sys.executable, "-m", "monitor.serve.dashboard", host, str(port)]
    with log.open("ab") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL)


def log_of(settings: Settings) -> Path:
    """Where the dashboard's output goes."""
    return settings.data / "dashboard.log"


def wait_until_ready(child: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Block until the page answers.

    Raises
    ------
    DashboardFailed
        If the child ends, or does not answer in time.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise DashboardFailed(
                f"the dashboard ended with code {child.returncode}; see {log}, or start with --no-dashboard"
            )
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.1)
    raise DashboardFailed(f"the dashboard does not answer at {url}; see {log}, or start with --no-dashboard")


def stop_dashboard(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def run_streamlit(host: str, port: int) -> None:
    """The child: run the app until terminated."""
    _end_with_parent()
    import dashboards

    script = "guarded.py" if os.environ.get(LOGIN_VARIABLE) else "main.py"
    app = Path(dashboards.__file__).parent / "start" / script
    options = {
        "server.headless": "true",
        "server.address": host,
        "server.port": str(port),
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "global.developmentMode": "false",
    }
    from streamlit.web import cli

    for module in _SLOW_TO_LOAD:
        importlib.import_module(module)
    sys.argv = ["streamlit", "run", str(app), *(f"--{key}={value}" for key, value in options.items())]
    cli.main(prog_name="streamlit")


def _end_with_parent() -> None:
    # However the service ends, the page must not stay behind and show what is no longer true.
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


if __name__ == "__main__":
    run_streamlit(sys.argv[1], int(sys.argv[2]))
