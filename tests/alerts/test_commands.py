"""Silences, changes and test messages: by the API of a running service, from a shell beside it, and without one."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.tools.service import NO_JOBS, Service, run, running
from tests.tools.told import http_receiver


def call(service: Service, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer t", **headers}
    request = urllib.request.Request(f"{service.addresses['http']}{path}", data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_silences_and_changes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    tokens = {"MONITOR_COLLECTORS__TOKENS": '["t"]'}
    shell = ("--data", str(data))
    with running(data, env={**NO_JOBS, **tokens}) as service:
        wanted = {"matchers": ["node=~gpu-.*"], "duration": "2h", "created_by": "me", "comment": "disks"}
        assert call(service, "POST", "/api/silences", wanted, Authorization="Bearer x")[0] == 401
        assert call(service, "POST", "/api/silences", wanted, **{"Content-Type": "text/plain"})[0] == 415
        status, made = call(service, "POST", "/api/silences", wanted)
        assert (status, made["status"], made["matchers"]) == (200, "active", ['node=~"gpu-.*"'])
        for broken, said in (
            ({**wanted, "matchers": ["node=~("]}, "not a regular expression"),
            ({**wanted, "matchers": ["x=~.*"]}, "would hold for all"),
            ({**wanted, "matchers": []}, "needs a matcher"),
            ({**wanted, "matchers": "node=a"}, "must be a list"),
            ({**wanted, "comment": " "}, "needs a comment"),
            ({**wanted, "duration": "2"}, "no duration"),
            ({**wanted, "duration": "9999999999d"}, "too long"),
            ({**wanted, "ends_at": "2026-01-01T00:00:00Z"}, "one of the two"),
            ({**wanted, "starts_at": "0001-01-01T00:00:00+14:00"}, "too far away"),
            ({**wanted, "durration": "2h"}, "there is no key `durration`"),
            (b"[1]", "must be a JSON object"),
            (b"{", "no JSON"),
        ):
            status, answer = call(service, "POST", "/api/silences", broken)
            assert status == 400
            assert said in answer["error"]
        done = run(
            "alerts", "silence", "severity=info", "--for", "1h", "--comment", "noise", *shell, "--json", env=tokens
        )
        assert done.returncode == 0, done.stderr
        longer = run(
            "alerts",
            "silence",
            "severity=info",
            "--for",
            "3h",
            "--comment",
            "noise",
            "--change",
            json.loads(done.stdout)["id"],
            *shell,
            "--json",
            env=tokens,
        )
        assert json.loads(longer.stdout)["id"] == json.loads(done.stdout)["id"]
        assert call(service, "DELETE", f"/api/silences/{made['id']}")[1]["status"] == "expired"
        assert call(service, "DELETE", f"/api/silences/{made['id']}")[0] == 400
        assert call(service, "DELETE", "/api/silences/none")[0] == 404
        assert [each["status"] for each in call(service, "GET", "/api/silences")[1]] == ["active", "expired"]

        assert (
            run(
                "change", "deploy 1.4", "--where", "service=chat", "--link", "https://x.example/1", *shell, env=tokens
            ).returncode
            == 0
        )
        status, answer = call(
            service, "POST", "/api/changes", {"title": "more\nnodes", "kind": "config", "where": {"node": "a"}}
        )
        assert (status, answer["title"]) == (200, "more nodes")
        for broken, said in (
            ({"title": ""}, "needs a title"),
            ({"title": "x", "kind": "war"}, "no kind"),
            ({"title": "x", "where": {"nod": "a"}}, "did you mean `node`"),
            ({"title": "x", "link": "javascript:1"}, "must begin with"),
        ):
            status, answer = call(service, "POST", "/api/changes", broken)
            assert status == 400
            assert said in answer["error"]
        changes = call(service, "GET", "/api/changes")[1]
        assert [(each["kind"], each["title"], each["where"]) for each in changes] == [
            ("config", "more nodes", {"node": ["a"]}),
            ("deploy", "deploy 1.4", {"service": ["chat"]}),
        ]
    # Without the service, the same from its folder.
    listed = run("alerts", "silences", *shell, "--json")
    assert [each["status"] for each in json.loads(listed.stdout)] == ["active", "expired"]
    assert run("alerts", "silence", "--end", json.loads(done.stdout)["id"], *shell).returncode == 0
    assert run("change", "deploy 1.5", *shell).returncode == 0


def test_a_test_message(tmp_path: Path) -> None:
    with http_receiver() as receiver, http_receiver() as slack:
        config = tmp_path / "monitor.yaml"
        config.write_text(
            "receivers:\n  a:\n    webhook: {url: '${HOOK}', secret: s, allow: [127.0.0.1/32]}\n"
            "    slack: {url_file: " + str(tmp_path / "url") + ", allow: [127.0.0.1/32]}\n"
        )
        (tmp_path / "url").write_text(f"{slack.url}\n")
        env = {"HOOK": receiver.url}
        done = run("alerts", "send-test", "a", "--config", str(config), env=env)
        assert (done.returncode, done.stdout) == (0, "a/slack: sent\na/webhook: sent\n")
        assert receiver.taken[0].json["alerts"][0]["summary"] == "This channel works."
        slack.answer = lambda posted: (404, "no_service", {})
        done = run("alerts", "send-test", "a/slack", "--config", str(config), env=env)
        assert done.returncode == 1
        assert "no_service" in done.stdout
        assert "secret-part" not in done.stdout + done.stderr
        done = run("alerts", "send-test", "b", "--config", str(config), env=env)
        assert (done.returncode, "there are a/slack, a/webhook" in done.stderr) == (1, True)


@pytest.mark.parametrize("arguments", [("alerts", "silence", "--for", "2h"), ("alerts", "silence", "a=b")])
def test_what_is_missing_is_said(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*arguments, "--data", str(tmp_path))
    assert done.returncode == 1
    assert "say which alerts and for how long" in done.stderr
