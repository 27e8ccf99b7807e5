"""The stand-in of NVIDIA's library, for this process and for others."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from collectors.gpu.nvml import Nvml
from tests.collectors.gpu import standin
from tests.collectors.gpu.standin import Standin

PAGES = Path(__file__).with_name("pages")


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled stand-in; for a process of its own, see `Standin.environment`."""
    return standin.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="session")
def _loaded(nvml_library: Path) -> ctypes.CDLL:
    # Once it is loaded, the loader gives it to whoever asks for a library of its name.
    return ctypes.CDLL(str(nvml_library))


MakeStandin = Callable[[str], Standin]


@pytest.fixture
def make_standin(tmp_path: Path) -> MakeStandin:
    """Write the answers for a process of its own."""
    return lambda text: Standin(tmp_path / "answers.txt", text)


@pytest.fixture
def gpus(_loaded: ctypes.CDLL, make_standin: MakeStandin, monkeypatch: pytest.MonkeyPatch) -> MakeStandin:
    """Write the answers of the library in this process."""

    def make(text: str) -> Standin:
        made = make_standin(text)
        monkeypatch.setenv("NVML_STANDIN", str(made.path))
        return made

    return make


@pytest.fixture
def nvml() -> Iterator[Nvml]:
    reader = Nvml()
    yield reader
    reader.close()


class Page:
    """A DCGM exporter's page on a real port; `text` may be changed, `status` and `delay` too."""

    def __init__(self) -> None:
        self.text = ""
        self.status = 200
        self.asked = 0
        self.release = threading.Event()
        self.release.set()
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page.asked += 1
                page.release.wait(10)
                body = page.text.encode()
                self.send_response(page.status if self.path == "/metrics" else 404)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                with contextlib.suppress(ConnectionError):  # the reader has given up
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Keep the test's output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def recorded(self, name: str) -> None:
        self.text = (PAGES / f"{name}.txt").read_text()

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def page() -> Iterator[Page]:
    served = Page()
    yield served
    served.close()
