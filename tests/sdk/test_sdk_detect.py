"""What the SDK finds out about the machine it runs on, and that whatever the user said is stronger."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from monitor import sdk
from monitor.sdk import detect as detect_module
from monitor.sdk import lifecycle
from monitor.sdk.detect import detect
from monitor.store.client import connect
from monitor.store.migrate import migrate
from tests.collectors.receiving import receiving
from tests.conftest import empty_all

ID = "0123456789abcdef" * 4
UID = "7c1e4f5a-0b2d-4c3e-9f8a-1234567890ab"
IN_K8S = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
H100 = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 42\nGPU UUID: \t GPU-aaaa-1\n"
L4 = "Model: \t\t NVIDIA L4\nGPU UUID: \t GPU-bbbb-2\n"


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def gpus(*texts: str) -> dict[str, str]:
    return {f"proc/driver/nvidia/gpus/0000:{n:02x}:00.0/information": text for n, text in enumerate(texts)}


def mount(source: str, target: str) -> str:
    return f"678 655 254:1 {source} {target} rw,relatime - ext4 /dev/vda1 rw\n"


CASES: dict[str, tuple[dict[str, str], dict[str, str], dict[str, str]]] = {
    # environment, files, what is found beside the host's name
    "nothing": ({}, {}, {}),
    "blank": ({"AWS_REGION": " ", "K8S_NODE_NAME": ""}, {"proc/self/cgroup": "", "proc/self/mountinfo": "x\n\n1 2"}, {}),
    "downward api": (
        {**IN_K8S, "NODE_NAME": "gpu-7", "POD_NAME": "chat-0", "POD_NAMESPACE": "ml", "POD_UID": UID},
        {"var/run/secrets/kubernetes.io/serviceaccount/namespace": "other"},
        {"k8s.node.name": "gpu-7", "k8s.pod.name": "chat-0", "k8s.namespace.name": "ml", "k8s.pod.uid": UID},
    ),
    "long names win": (
        {**IN_K8S, "NODE_NAME": "x", "K8S_NODE_NAME": "gpu-7", "POD_NAME": "x", "K8S_POD_NAME": "chat-0"},
        {},
        {"k8s.node.name": "gpu-7", "k8s.pod.name": "chat-0"},
    ),
    "NODE_NAME outside Kubernetes is somebody else's": ({"NODE_NAME": "jenkins-1", "POD_NAME": "x"}, {}, {}),
    "service account": (
        {},
        {
            "var/run/secrets/kubernetes.io/serviceaccount/namespace": "ml\n",
            "etc/hosts": "# Kubernetes-managed hosts file.\n127.0.0.1 localhost\n",
        },
        {"k8s.namespace.name": "ml", "k8s.pod.name": "host-1"},
    ),
    "pod in the host's network": (IN_K8S, {"etc/hosts": "# Kubernetes-managed hosts file (host network).\n"}, {}),
    "cgroup v1, docker": ({}, {"proc/self/cgroup": f"12:pids:/docker/{ID}\n1:name=systemd:/x\n"}, {"container.id": ID}),
    "cgroup v1, kubernetes": (
        {},
        {"proc/self/cgroup": f"3:cpu:/kubepods/burstable/pod{UID}/{ID}\n"},
        {"container.id": ID, "k8s.pod.uid": UID},
    ),
    "cgroup by systemd": (
        {},
        {
            "proc/self/cgroup": "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod"
            f"{UID.replace('-', '_')}.slice/cri-containerd-{ID}.scope\n"
        },
        {"container.id": ID, "k8s.pod.uid": UID},
    ),
    "ecs": (
        {},
        {"proc/self/cgroup": f"9:perf:/ecs/{ID[:32]}/{ID[:32]}-1234567890\n"},
        {"container.id": f"{ID[:32]}-1234567890"},
    ),
    "no container": ({}, {"proc/self/cgroup": f"0::/user.slice/{ID}.slice/session-2.scope\n"}, {}),
    "cgroup v2, docker": (
        {},
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": mount("/", "/") + mount(f"/var/lib/docker/containers/{ID}/hostname", "/etc/hostname"),
        },
        {"container.id": ID},
    ),
    "cgroup v2, podman": (
        {},
        {"proc/self/mountinfo": mount(f"/overlay-containers/{ID}/userdata/hosts", "/etc/hosts")},
        {"container.id": ID},
    ),
    "cgroup v2, kubernetes: the sandbox is not the container": (
        {},
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": mount(f"/io.containerd.grpc.v1.cri/sandboxes/{ID}/hostname", "/etc/hostname")
            + mount(f"/var/lib/kubelet/pods/{UID}/etc-hosts", "/etc/hosts"),
        },
        {"k8s.pod.uid": UID},
    ),
    "a host that runs containers is in none": (
        {},
        {"proc/self/mountinfo": mount("/", f"/var/lib/docker/containers/{ID}/mounts/shm")},
        {},
    ),
    "aws": ({"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "us-east-1"}, {}, {"cloud.region": "eu-central-1"}),
    "aws default": ({"AWS_DEFAULT_REGION": "us-east-1"}, {}, {"cloud.region": "us-east-1"}),
    "google": ({"GOOGLE_CLOUD_REGION": "europe-west4"}, {}, {"cloud.region": "europe-west4"}),
    "fly, with a bucket at aws": ({"FLY_REGION": "ams", "AWS_REGION": "auto"}, {}, {"cloud.region": "ams"}),
    "azure": ({"WEBSITE_SITE_NAME": "chat", "REGION_NAME": "West Europe"}, {}, {"cloud.region": "West Europe"}),
    "a region of nobody": ({"REGION_NAME": "north"}, {}, {}),
    "one gpu": ({}, gpus(H100), {"monitor.gpu": "NVIDIA H100 80GB HBM3"}),
    "eight alike": ({"CUDA_VISIBLE_DEVICES": "0,3"}, gpus(*[H100] * 8), {"monitor.gpu": "NVIDIA H100 80GB HBM3"}),
    "two models": ({}, gpus(L4, H100), {"monitor.gpu": "NVIDIA H100 80GB HBM3, NVIDIA L4"}),
    "by uuid": ({"NVIDIA_VISIBLE_DEVICES": "GPU-bbbb-2"}, gpus(H100, L4), {"monitor.gpu": "NVIDIA L4"}),
    "by uuid, shortened": ({"CUDA_VISIBLE_DEVICES": "GPU-aaaa"}, gpus(H100, L4), {"monitor.gpu": "NVIDIA H100 80GB HBM3"}),
    "by number in the bus's order": (
        {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
        gpus(H100, L4),
        {"monitor.gpu": "NVIDIA L4"},
    ),
    "by number in CUDA's order": ({"CUDA_VISIBLE_DEVICES": "9,0"}, gpus(H100, L4), {}),
    "the host's numbers in a container": ({"NVIDIA_VISIBLE_DEVICES": "5"}, gpus(L4), {"monitor.gpu": "NVIDIA L4"}),
    "all": ({"NVIDIA_VISIBLE_DEVICES": "all"}, gpus(L4), {"monitor.gpu": "NVIDIA L4"}),
    "hidden": ({"CUDA_VISIBLE_DEVICES": ""}, gpus(L4), {}),
    "void": ({"NVIDIA_VISIBLE_DEVICES": "void"}, gpus(L4), {}),
    "-1": ({"CUDA_VISIBLE_DEVICES": "-1"}, gpus(L4), {}),
    "gpu without a model": ({}, gpus("IRQ: 3\n"), {}),
    "long": ({"AWS_REGION": "r" * 999}, {}, {"cloud.region": "r" * 255}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_found(case: str, tmp_path: Path) -> None:
    environ, files, expected = CASES[case]
    assert detect(environ, root=machine(tmp_path, files), hostname="host-1") == {"host.name": "host-1", **expected}


def test_files_of_any_content_and_kind_do_not_raise(tmp_path: Path) -> None:
    g = random.Random(3)
    names = ("proc/self/cgroup", "proc/self/mountinfo", *gpus(""), *CASES["service account"][1])
    for round_number in range(40):
        root = tmp_path / str(round_number)
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if g.random() < 0.2:
                path.mkdir(exist_ok=True)  # not a file at all
            else:
                path.write_bytes(g.randbytes(g.randrange(400)) + b"\n 1 2 3 /containers/ /etc/hosts \n:\n::::\0")
        found = detect(IN_K8S, root=root, hostname="h")
        assert found["host.name"] == "h"
        assert all(isinstance(value, str) and 0 < len(value) <= 255 for value in found.values())
    assert detect({}, root=tmp_path / "missing", hostname="") == {}


Sending = Callable[..., dict[str, Any]]


@pytest.fixture(params=["own", "joined"])
def sending(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Sending:
    """The resource that a process sends, which starts with `init` of such arguments."""

    def send(**settings: Any) -> dict[str, Any]:
        before = (
            TracerProvider(resource=Resource.create()) if request.param == "joined" else trace.ProxyTracerProvider()
        )
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: before)
        monkeypatch.setattr(trace, "set_tracer_provider", lambda provider: None)
        monkeypatch.setattr(lifecycle._state, "installed", None)
        exporter = InMemorySpanExporter()
        sdk.init("svc", exporter=exporter, **settings)
        with sdk.inference("m"):
            pass
        sdk.shutdown()
        (span,) = exporter.get_finished_spans()
        return dict(span.resource.attributes)

    return send


def test_argument_beats_environment_beats_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sending: Sending
) -> None:
    monkeypatch.setattr(detect_module, "ROOT", machine(tmp_path, gpus(L4)))
    for name, value in {"AWS_REGION": "detected", "K8S_NODE_NAME": "detected", "K8S_POD_NAME": "detected"}.items():
        monkeypatch.setenv(name, value)
    names = ("host.name", "k8s.pod.name", "k8s.node.name", "cloud.region", "monitor.gpu")
    host = socket.gethostname()

    def told(**settings: Any) -> tuple[str, ...]:
        found = sending(**settings)
        return tuple(found[name] for name in names)

    assert told() == (host, "detected", "detected", "detected", "NVIDIA L4")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.node.name=said,cloud.region=said")
    assert told() == (host, "detected", "said", "said", "NVIDIA L4")
    assert told(region="argued", gpu="argued") == (host, "detected", "said", "argued", "argued")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "host.name=said")
    found = told(resource_attributes={"k8s.pod.name": "argued"})
    assert found == ("said", "argued", "detected", "detected", "NVIDIA L4")


def test_an_identifier_of_digits_is_not_taken_for_a_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sending: Sending
) -> None:
    card = "4111111111111111" * 4
    monkeypatch.setattr(detect_module, "ROOT", machine(tmp_path, {"proc/self/cgroup": f"1:x:/docker/{card}\n"}))
    assert sending(redact=True)["container.id"] == card


def test_a_second_init_is_the_same_although_the_machine_says_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = InMemorySpanExporter()
    sdk.init("svc", exporter=exporter)
    monkeypatch.setenv("AWS_REGION", "eu-1")
    sdk.init("svc", exporter=exporter)
    assert not caplog.records


def test_the_store_knows_where_a_call_ran(chdb_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect(chdb_url)
    migrate(client)
    empty_all(client)  # of what others left there
    monkeypatch.setattr(detect_module, "ROOT", machine(tmp_path / "root", gpus(H100)))
    monkeypatch.setenv("K8S_NODE_NAME", "gpu-7")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setattr(lifecycle._state, "installed", None)
    theirs = TracerProvider(resource=Resource.create())
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: theirs)
    try:
        with receiving(tmp_path / "data", chdb_url) as target:
            sdk.init("svc", endpoint=f"http://{target.grpc}")
            with sdk.inference("m"):
                pass
            assert sdk.flush()
            deadline = time.monotonic() + 30
            while not (rows := client.query("SELECT node, region, gpu FROM inferences FINAL").result_rows):
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        sdk.shutdown()
        empty_all(client)
        client.close()
    assert [tuple(row) for row in rows] == [("gpu-7", "eu-central-1", "NVIDIA H100 80GB HBM3")]
