"""The files in deploy/: whole, of one piece, and of this product's names and ports."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from monitor.cli import app, commands  # noqa: F401
from monitor.settings import Settings, load_settings
from monitor.store.cluster import Layout

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DEFAULTS = Settings()
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
# apiVersion of each kind that is used.
KINDS = {"ConfigMap": "v1", "Service": "v1", "StatefulSet": "apps/v1"}


def documents() -> list[dict[str, Any]]:
    return [document for path in KUBERNETES for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in documents() if each["kind"] == kind}


def containers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for workload in of_kind("StatefulSet").values():
        for container in workload["spec"]["template"]["spec"]["containers"]:
            yield workload, container


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "pw")
    monkeypatch.setenv("INGEST_TOKEN", "token")


def check_arguments(arguments: list[str]) -> None:
    """A command of ours with options of its own."""
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert arguments[0] in known
    options = {option for parameter in known[arguments[0]].params for option in parameter.opts}
    assert {word for word in arguments if word.startswith("--")} <= options


def test_every_document_is_whole() -> None:
    assert len(documents()) == 6
    for document in documents():
        assert set(document) == {
            "apiVersion",
            "kind",
            "metadata",
            "data" if document["kind"] == "ConfigMap" else "spec",
        }
        assert KINDS[document["kind"]] == document["apiVersion"]
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", document["metadata"]["name"])
    names = [(document["kind"], document["metadata"]["name"]) for document in documents()]
    assert len(set(names)) == len(names)


def test_selectors_find_their_pods_and_ports() -> None:
    pods = {name: each["spec"]["template"] for name, each in of_kind("StatefulSet").items()}
    for workload in of_kind("StatefulSet").values():
        assert (
            workload["spec"]["selector"]["matchLabels"].items()
            <= workload["spec"]["template"]["metadata"]["labels"].items()
        )
        assert workload["spec"]["serviceName"] in of_kind("Service")
    for service in of_kind("Service").values():
        wanted = service["spec"]["selector"].items()
        found = [pod for pod in pods.values() if wanted <= pod["metadata"]["labels"].items()]
        assert len(found) == 1
        ports = {
            port["name"]: port["containerPort"] for each in found[0]["spec"]["containers"] for port in each["ports"]
        }
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]


def test_volumes_and_configurations_are_there() -> None:
    for workload, container in containers():
        spec = workload["spec"]
        volumes = {each["name"]: each for each in spec["template"]["spec"].get("volumes", [])}
        claims = {each["metadata"]["name"] for each in spec["volumeClaimTemplates"]}
        for mount in container["volumeMounts"]:
            assert mount["name"] in volumes.keys() | claims
            config = volumes.get(mount["name"], {}).get("configMap")
            if config is not None:
                held = of_kind("ConfigMap")[config["name"]]["data"]
                assert mount.get("subPath", "monitor.yaml") in held


def test_secrets_are_named_and_never_written() -> None:
    made = re.findall(
        r"--from-literal=([\w-]+)=", (DEPLOY / "kubernetes" / "collector.yaml").read_text(encoding="utf-8")
    )
    used = {
        (variable["valueFrom"]["secretKeyRef"]["name"], variable["valueFrom"]["secretKeyRef"]["key"])
        for _, container in containers()
        for variable in container["env"]
        if "valueFrom" in variable
    }
    assert used == {("inference-monitor", key) for key in made}
    for _, container in containers():
        for variable in container["env"]:
            secret = re.search(r"PASSWORD|TOKEN|SECRET", variable["name"]) is not None
            assert secret == ("valueFrom" in variable)


def test_probes_ask_what_the_product_answers() -> None:
    receiver = (ROOT / "collectors" / "otlp" / "http_receiver.py").read_text(encoding="utf-8")
    (collector,) = (container for _, container in containers() if container["name"] == "collector")
    ports = {port["name"]: port["containerPort"] for port in collector["ports"]}
    assert ports == {"otlp-grpc": DEFAULTS.collectors.grpc_port, "otlp-http": DEFAULTS.collectors.http_port}
    probes = {kind: collector[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    for probe in probes.values():
        assert probe["port"] == "otlp-http"
        assert f'"{probe["path"]}"' in receiver
    check_arguments(collector["args"])


@pytest.mark.usefixtures("secrets")
def test_the_configuration_of_the_collectors_loads_and_names_the_clusters_servers(tmp_path: Path) -> None:
    (tmp_path / "monitor.yaml").write_text(of_kind("ConfigMap")["inference-monitor"]["data"]["monitor.yaml"])
    settings = load_settings(tmp_path / "monitor.yaml")
    assert Layout.from_settings(settings) == Layout(cluster="monitor", on_cluster=False, replicated=False)
    servers = ElementTree.fromstring(of_kind("ConfigMap")["clickhouse"]["data"]["cluster.xml"]).find(
        "remote_servers/monitor"
    )
    assert servers is not None
    hosts = [str(host.text) for host in servers.iter("host")]
    clickhouse = of_kind("StatefulSet")["clickhouse"]
    assert hosts == [f"clickhouse-{number}.clickhouse" for number in range(clickhouse["spec"]["replicas"])]
    assert sorted(settings.node_urls) == [f"http://monitor:pw@{host}:8123/monitor" for host in hosts]
    assert {port.text for port in servers.iter("port")} == {"9000"}


@pytest.mark.usefixtures("secrets")
def test_compose_is_of_one_piece() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    collector = services["collector"]
    check_arguments(collector["command"])
    section = DEFAULTS.collectors
    assert collector["ports"] == [f"{port}:{port}" for port in (section.grpc_port, section.http_port)]
    assert f":{section.http_port}/healthz" in collector["healthcheck"]["test"][-1]
    assert set(collector["depends_on"]) <= set(services)
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).is_file()
        for name, value in service["environment"].items():
            if re.search("PASSWORD|TOKEN", name):
                assert value.startswith(f"${{{name}:?")  # refused if it is not set
    assert (
        DEPLOY / collector["build"]["context"] / collector["build"]["dockerfile"]
    ).resolve() == DEPLOY / "Dockerfile"
    settings = load_settings(DEPLOY / "monitor.yaml")
    clickhouse = services["clickhouse"]["environment"]
    assert (
        settings.store_url == f"http://{clickhouse['CLICKHOUSE_USER']}:pw@clickhouse:8123/{clickhouse['CLICKHOUSE_DB']}"
    )


def test_the_image_starts_what_the_files_start() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    (started,) = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
    arguments = yaml.safe_load(started)
    check_arguments(arguments)
    (collector,) = (container for _, container in containers() if container["name"] == "collector")
    assert collector["args"] == arguments
    assert f"EXPOSE {DEFAULTS.collectors.grpc_port} {DEFAULTS.collectors.http_port}" in text
    user = collector_user()
    assert f"USER {user}" in text


def collector_user() -> int:
    workload = of_kind("StatefulSet")["inference-monitor-collector"]
    return int(workload["spec"]["template"]["spec"]["securityContext"]["runAsUser"])
