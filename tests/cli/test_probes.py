"""`monitor probes` and `monitor review` as their user meets them: real processes on a data folder."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import yaml

from tests.cli.test_cli import failure, run
from tests.probes.test_probes import answering
from tests.tools import openai_stub


def test_probes_are_sent_shown_and_refused(tmp_path: Path) -> None:
    groups = {"north": ["Nora"], "south": ["Sina"]}
    prompts = [f"Task {i}: write a letter for {{group}}." for i in range(40)]
    templates, config = tmp_path / "probes.yaml", tmp_path / "monitor.yaml"
    templates.write_text(
        yaml.safe_dump({"sets": [{"name": "origin", "baseline": "north", "groups": groups, "prompts": prompts}]})
    )
    with openai_stub.running() as stub:
        stub.reply = answering(refuses=0.05, unfair={"Sina": 0.6})
        section = {"endpoint": stub.base_url, "model": "m", "templates": str(templates)}
        config.write_text(yaml.safe_dump({"data": str(tmp_path / "data"), "probes": section}))
        where = ("--config", str(config))
        run_, failure_ = partial(run, cwd=tmp_path), partial(failure, cwd=tmp_path)
        run_("migrate", *where)
        dry = run_("probes", "run", "--dry-run", *where)
        assert len(dry.stdout.splitlines()) == 80
        assert "nothing was sent" in dry.stderr
        assert not stub.seen
        sent = run_("probes", "run", "--json", *where)
        refusal = next(row for row in json.loads(sent.stdout) if row["metric"] == "refusal")
        assert (refusal["cohort"], refusal["verdict"], refusal["n"]) == ("origin=south", "unequal", 40)
        assert len(stub.seen) == 80
        shown = run_("probes", *where)
        assert "origin=south" in shown.stdout
        assert json.loads(run_("review", "--json", *where).stdout) == []
        stub.failures["m"] = [401] * 100
        assert "80 of 80 probes got no answer" in failure_("probes", "run", *where)
    config.write_text(yaml.safe_dump({"data": str(tmp_path / "data")}))
    assert "`probes.endpoint` is empty" in failure_("probes", "run", *where)
    assert "name their file in `probes.bbq`" in failure_("probes", "bbq", *where)
