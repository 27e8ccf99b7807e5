"""Every command and every snippet of README.md is run, as a reader would, against a real service."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.service import ROOT, Service, environment, running

README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent

# What starts a service or the tests has a test of its own, or is what runs this one.
RUN_ELSEWHERE = {
    "make demo": "test_make_demo_says_what_it_loaded",
    "make test": "test_ci_runs_make_test",
    "monitor up": "the fixture `service`",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("readme")
    with running(folder / "monitor-data") as started:
        # Commands are run beside the data folder, as after `monitor up`; the file they name is in the repository.
        (folder / "tests").symlink_to(ROOT / "tests")
        yield started


def _addressed(text: str, service: Service) -> str:
    """The README's default ports, as this service has them."""
    return text.replace("http://localhost:4317", f"http://{service.addresses['grpc']}").replace(
        "http://localhost:8123", service.addresses["clickhouse"]
    )


def test_there_is_something_to_run() -> None:
    assert len(COMMANDS) >= 8
    assert len(blocks("python")) >= 1
    assert set(RUN_ELSEWHERE) <= set(COMMANDS)


def test_snippets_then_commands_work(service: Service) -> None:
    """In the order of the page: what is sent is there when it is looked at."""
    folder = service.data.parent
    env = {**environment(), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "160"}
    for snippet in blocks("python"):
        code = _addressed(snippet, service)
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert "Hello!" in done.stdout
        assert "error" not in done.stderr.lower(), done.stderr
    outputs = {}
    for command in COMMANDS:
        if command in RUN_ELSEWHERE:
            continue
        words = shlex.split(_addressed(command, service))
        done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert done.stdout.strip(), f"{command} printed nothing"
        outputs[command] = done.stdout
        if " replay " in command:
            service.wait_until_stored()
            time.sleep(0.1)
    queried = next(text for command, text in outputs.items() if "GROUP BY model" in command)
    assert "llama-3.1-8b" in queried, "the snippet's call is a row"
    assert "meta-llama/Llama-3.3-70B-Instruct" in queried, "so are the replayed ones"
    counted = next(text for command, text in outputs.items() if command.startswith("curl"))
    assert int(counted) >= 201


def test_make_demo_says_what_it_loaded() -> None:
    """`make demo` in this checkout, on free ports."""
    ports = {f"MONITOR_COLLECTORS__{name}_PORT": "0" for name in ("GRPC", "HTTP", "CLICKHOUSE", "DASHBOARD")}
    process = subprocess.Popen(
        ["make", "--no-print-directory", "demo"],
        cwd=ROOT, env=environment(ports), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if line.startswith("open http://"):
                break
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)
    text = "".join(said)
    assert "dashboard=http://" in text, text
    assert (
        "19,366 requests of the Azure LLM inference trace 2023, 22,361,870 tokens in and 4,088,665 tokens out" in text
    ), text


def test_ci_runs_make_test() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), f"README links to {target}, which is not there"
