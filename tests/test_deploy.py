"""The files in deploy/: whole, of one piece, and of this product's names and ports."""

from __future__ import annotations

import re
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer.main
import yaml

from collectors.gpu.metrics import resource
from monitor.cli import app, commands  # noqa: F401
from monitor.gpu_semconv import POD
from monitor.semconv import K8S_NODE_NAME
from monitor.settings import Settings, load_settings
from monitor.store.cluster import Layout

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DEFAULTS = Settings()
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
# apiVersion of each kind that is used.
KINDS = {"ConfigMap": "v1", "DaemonSet": "apps/v1", "Service": "v1", "StatefulSet": "apps/v1"}


def documents() -> list[dict[str, Any]]:
    return [document for path in KUBERNETES for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in documents() if each["kind"] == kind}


def containers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for workload in (of_kind("StatefulSet") | of_kind("DaemonSet")).values():
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
    assert len(documents()) == 9
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
    workloads = of_kind("StatefulSet") | of_kind("DaemonSet")
    pods = {name: each["spec"]["template"] for name, each in workloads.items()}
    for workload in workloads.values():
        assert (
            workload["spec"]["selector"]["matchLabels"].items()
            <= workload["spec"]["template"]["metadata"]["labels"].items()
        )
        if workload["kind"] == "StatefulSet":
            assert workload["spec"]["serviceName"] in of_kind("Service")
    for service in of_kind("Service").values():
        if "namespace" in service["metadata"]:  # of somebody else's pods
            continue
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
        claims = {each["metadata"]["name"] for each in spec.get("volumeClaimTemplates", [])}
        for mount in container.get("volumeMounts", []):
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
        if "secretKeyRef" in variable.get("valueFrom", {})
    }
    assert used == {("inference-monitor", key) for key in made}
    for _, container in containers():
        for variable in container["env"]:
            secret = re.search(r"PASSWORD|TOKEN|SECRET", variable["name"]) is not None
            assert secret == ("secretKeyRef" in variable.get("valueFrom", {}))


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
    check_arguments(services["worker"]["command"])
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


GPU_DAEMONS = {
    "inference-monitor-gpu": {"endpoint": "http://inference-monitor:4317", "interval": "1s", "dcgm": ""},
    "inference-monitor-gpu-dcgm": {
        "endpoint": "http://inference-monitor:4317",
        "interval": "30s",
        "dcgm": "http://dcgm-on-this-node.gpu-operator:9400",
    },
}


@pytest.mark.parametrize("name", GPU_DAEMONS)
def test_gpu_nodes_run_our_command_with_what_it_reads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = of_kind("DaemonSet")[name]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    variables = {each["name"]: each for each in container["env"]}
    fields = {
        name: each["valueFrom"]["fieldRef"]["fieldPath"]
        for name, each in variables.items()
        if "fieldRef" in each.get("valueFrom", {})
    }
    # As the container would have it: each field with its own path for a value.
    for variable, path in {**fields, "INGEST_TOKEN": "the token"}.items():
        monkeypatch.setenv(variable, path)
    command = typer.main.get_command(app).commands["gpu"]  # type: ignore[attr-defined]
    assert container["args"][0] == "gpu"
    given = command.make_context("gpu", container["args"][1:]).params
    assert given == {
        **GPU_DAEMONS[name], "token": "the token", "protocol": "", "node": "", "once": False, "json": False
    }  # fmt: skip
    who = resource()
    assert (who[K8S_NODE_NAME], who[POD]) == ("spec.nodeName", "metadata.name")
    nvidia = {name: each["value"] for name, each in variables.items() if name not in {*fields, "INGEST_TOKEN"}}
    assert nvidia == (
        {"NVIDIA_VISIBLE_DEVICES": "void"}
        if given["dcgm"]
        else {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "utility"}
    )
    assert pod.get("runtimeClassName") == (None if given["dcgm"] else "nvidia")


def test_gpu_readings_come_from_every_gpu_node_and_go_to_the_collectors() -> None:
    services = of_kind("Service")
    for daemon in of_kind("DaemonSet").values():
        pod = daemon["spec"]["template"]["spec"]
        assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
        assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        assert pod["securityContext"]["runAsUser"] == collector_user()
        (container,) = pod["containers"]
        assert "nvidia.com/gpu" not in container["resources"]["limits"]
        arguments = container["args"]
        target = urlsplit(arguments[arguments.index("--endpoint") + 1])
        assert target.port in [port["port"] for port in services[str(target.hostname)]["spec"]["ports"]]
        if "--dcgm" in arguments:
            page = urlsplit(arguments[arguments.index("--dcgm") + 1])
            name, namespace = str(page.hostname).split(".")
            exporter = services[name]
            assert exporter["metadata"]["namespace"] == namespace
            # Another node's readings would be sent under this node's name.
            assert exporter["spec"]["internalTrafficPolicy"] == "Local"
            assert [port["port"] for port in exporter["spec"]["ports"]] == [page.port]


def test_the_image_can_read_gpus() -> None:
    (installed,) = re.findall(r"/src\[([\w,]+)\]", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    wanted = installed.split(",")
    assert set(wanted) <= set(extras)
    assert any(package.startswith("nvidia-ml-py") for extra in wanted for package in extras[extra])


def collector_user() -> int:
    workload = of_kind("StatefulSet")["inference-monitor-collector"]
    return int(workload["spec"]["template"]["spec"]["securityContext"]["runAsUser"])
