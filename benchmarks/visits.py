"""Visitors of a real dashboard by Streamlit's own protocol.

A visit is what a browser does that opens a page: a session of its own, one run of the script, and all that it draws.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from monitor.serve.dashboard import log_of, start_dashboard, stop_dashboard, wait_until_ready
from monitor.settings import Settings
from tests.tools.ports import free_port

_ANSWER_S = 60


@contextmanager
def serving(store_url: str) -> Iterator[tuple[str, int]]:
    """A dashboard over this store, as `monitor up` starts it: its address and process id."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data=Path(folder))
        child = start_dashboard(store_url, api_url="", settings=settings, host="127.0.0.1", port=port)
        try:
            wait_until_ready(child, url, log_of(settings))
            yield url, child.pid
        finally:
            stop_dashboard(child)


def visit(url: str, path: str, query: str) -> int:
    """Open a page (`path` as in its address) as somebody new, wait until it is drawn; returns how many messages that took.

    Raises
    ------
    RuntimeError
        If the page shows an exception.
    """
    asked = BackMsg()
    asked.rerun_script.query_string = query
    asked.rerun_script.page_name = path
    asked.rerun_script.context_info.timezone = "UTC"
    address = f"{url.replace('http', 'ws', 1)}/_stcore/stream"
    with connect(address, subprotocols=[Subprotocol("streamlit")], max_size=None) as socket:
        socket.send(asked.SerializeToString())
        messages = 0
        while True:
            told = ForwardMsg()
            told.ParseFromString(socket.recv(timeout=_ANSWER_S, decode=False))
            messages += 1
            if told.delta.new_element.WhichOneof("type") == "exception":
                raise RuntimeError(f"/{path}: {told.delta.new_element.exception.message}")
            if told.WhichOneof("type") == "script_finished":
                return messages
