"""Prints the alerts that a webhook receiver gets: to try a rule without a mail server or Slack.

    python examples/alert_receiver.py         # listens on http://127.0.0.1:9009/

In monitor.yaml: `webhook: {url: 'http://127.0.0.1:9009/', allow: [127.0.0.1/32]}`.
"""

from __future__ import annotations

import argparse
import json
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    """Takes anything, and says what it is about."""

    def do_POST(self) -> None:
        """One message of alerts."""
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for alert in message.get("alerts", [message]):
            print(json.dumps(alert, ensure_ascii=False)[:600], flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """The messages are enough."""


def main() -> None:
    """Listen until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Print the alerts that arrive.")
    parser.add_argument("--port", type=int, default=9009, help="where to listen (default 9009)")
    port = parser.parse_args().port
    print(f"waiting for alerts on http://127.0.0.1:{port}/", flush=True)
    HTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
