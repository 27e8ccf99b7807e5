"""A real `monitor up`: from a rule to a mail and a webhook, and the word of it in the log."""

from __future__ import annotations

import json
import time
from pathlib import Path

from monitor.jobs.registry import JOBS
from monitor.store.client import connect
from tests.tools.service import running
from tests.tools.told import http_receiver, mail_server


def test_a_breach_reaches_a_mailbox_and_a_webhook(tmp_path: Path) -> None:
    with mail_server(tmp_path / "mail") as mails, http_receiver() as hook:
        config = tmp_path / "monitor.yaml"
        config.write_text(
            f"""
alerting: {{defaults: false}}
alerts:
  - {{name: on-watch, always: true, severity: info}}
receivers:
  oncall:
    email: {{host: localhost, port: {mails.port}, ca_file: {mails.ca_file}, from: alerts@example.com, to: oncall@example.com}}
    webhook: {{url: '{hook.url}', secret: key, allow: [127.0.0.1/32]}}
routing: {{receivers: [oncall], dashboard_url: 'https://monitor.example'}}
"""
        )
        off = {"MONITOR_JOBS__OFF": json.dumps(list(JOBS))}  # all but `alerts` and `notify`
        with running(tmp_path / "data", "--config", str(config), env=off) as service:
            ready = time.monotonic()
            while not (mails.mails and hook.taken):
                assert time.monotonic() - ready < 15 + 5 + 10, (tmp_path / "data.log").read_text()[-3000:]
                time.sleep(0.1)
            print(f"told {time.monotonic() - ready:.1f} s after the service was ready")
            assert mails.mails[0]["Subject"] == "[info] on-watch"
            assert mails.in_tls == [True]
            assert hook.taken[0].json["headline"] == "on-watch"
            time.sleep(7)  # a run of `notify` later, nothing was said twice
            assert (len(mails.mails), len(hook.taken)) == (1, 1)
            client = connect(service.addresses["clickhouse"])
            rows = client.query(
                "SELECT channel, possibly_repeated FROM notifications FINAL ORDER BY channel"
            ).result_rows
            client.close()
            assert rows == [("oncall/email", False), ("oncall/webhook", False)]
        log = (tmp_path / "data.log").read_text()
        assert "secret-part" not in log
