"""What the machine says about itself: host, Kubernetes, container, region, GPU; from environment variables and files.

No network (a cloud's metadata server may hang), nothing imported, and a file that is missing or odd says nothing.
What is not sure is left out: a wrong node splits every KPI wrongly, an unknown one does not.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from monitor import semconv

ROOT = Path("/")
_FILE_BYTES_MAX: Final = 1 << 18
_VALUE_CHARS_MAX: Final = 255
_GPUS_MAX: Final = 64

# Variables that a platform sets itself come first; AWS_REGION may also be that of an API somebody calls from elsewhere.
_REGION_VARIABLES: Final = (
    "FLY_REGION",
    "MODAL_REGION",
    "RUNPOD_DC_ID",
    "GOOGLE_CLOUD_REGION",
    "FUNCTION_REGION",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)
_CONTAINER_IN_CGROUP: Final = re.compile(r"(?:^|[/:-])([0-9a-f]{64}|[0-9a-f]{32}-\d{8,})(?:\.scope)?$")
_CONTAINER_IN_MOUNT: Final = re.compile(r"/(?:overlay-)?containers/([0-9a-f]{64})/")
# Files that a container engine mounts into each container, from a folder that is named after it. On a host, the folders
# of its containers are mounted elsewhere.
_OF_CONTAINER: Final = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
_POD_UID: Final = re.compile(r"(?:/|-)pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})")
_POD_MOUNT: Final = re.compile(r"/pods/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/")
_NAMESPACE_FILE: Final = "var/run/secrets/kubernetes.io/serviceaccount/namespace"
# Written by the kubelet; a pod in the host's network has " (host network)" in it, and the node's host name.
_POD_HOSTS: Final = "# Kubernetes-managed hosts file."
_NO_GPU: Final = ("", "-1", "none", "void", "nodevfiles")


def detect(
    environ: Mapping[str, str] | None = None, *, root: Path | None = None, hostname: str | None = None
) -> dict[str, str]:
    """Resource attributes of this process, under OpenTelemetry's names; weaker than anything the user said.

    Parameters
    ----------
    environ
        Environment variables; those of the process by default.
    root
        Where `/proc`, `/etc` and `/var` are looked for.
    hostname
        Name of the host; asked of the operating system by default.
    """
    environ = os.environ if environ is None else environ
    root = ROOT if root is None else root
    host = socket.gethostname() if hostname is None else hostname
    found = {semconv.HOST_NAME: host, semconv.CLOUD_REGION: _region(environ), semconv.GPU: _gpu(environ, root)}
    cgroup, mounts = _read(root / "proc/self/cgroup"), _read(root / "proc/self/mountinfo")
    found[semconv.CONTAINER_ID] = _container_id(cgroup, mounts)
    found.update(_kubernetes(environ, root, host, cgroup, mounts))
    return {name: value[:_VALUE_CHARS_MAX] for name, value in found.items() if value}


def _kubernetes(environ: Mapping[str, str], root: Path, host: str, cgroup: str, mounts: str) -> dict[str, str]:
    namespace = _read(root / _NAMESPACE_FILE).strip()
    inside = bool(environ.get("KUBERNETES_SERVICE_HOST") or namespace)
    # Short names mean something else elsewhere: Jenkins has a NODE_NAME too.
    short = ("NODE_NAME", "POD_NAME", "POD_NAMESPACE", "POD_UID") if inside else ("", "", "", "")
    pod = _first(environ, "K8S_POD_NAME", short[1])
    if not pod and inside and _read(root / "etc/hosts").startswith(_POD_HOSTS):
        pod = host
    return {
        semconv.K8S_NODE_NAME: _first(environ, "K8S_NODE_NAME", short[0], "KUBE_NODE_NAME"),
        semconv.K8S_POD_NAME: pod,
        semconv.K8S_POD_UID: _first(environ, "K8S_POD_UID", short[3]) or _pod_uid(cgroup, mounts),
        semconv.K8S_NAMESPACE_NAME: _first(environ, "K8S_NAMESPACE", "K8S_POD_NAMESPACE", short[2]) or namespace,
    }


def _region(environ: Mapping[str, str]) -> str:
    # App Service and Functions say it so; the name alone is too common.
    if environ.get("WEBSITE_SITE_NAME") and environ.get("REGION_NAME", "").strip():
        return environ["REGION_NAME"].strip()
    return _first(environ, *_REGION_VARIABLES)


def _container_id(cgroup: str, mounts: str) -> str:
    for line in cgroup.splitlines():
        if found := _CONTAINER_IN_CGROUP.search(line.strip()):
            return found[1]
    # With cgroup v2 a container sees its own group as the root, which has no name.
    for fields in map(str.split, mounts.splitlines()):
        if len(fields) > 4 and fields[4] in _OF_CONTAINER and (found := _CONTAINER_IN_MOUNT.search(fields[3])):
            return found[1]
    return ""


def _pod_uid(cgroup: str, mounts: str) -> str:
    if found := _POD_UID.search(cgroup):
        return found[1].replace("_", "-")
    for fields in map(str.split, mounts.splitlines()):
        if len(fields) > 4 and fields[4] == "/etc/hosts" and (found := _POD_MOUNT.search(fields[3])):
            return found[1]
    return ""


def _gpu(environ: Mapping[str, str], root: Path) -> str:
    """Model of the GPUs that this process may use, as NVIDIA's driver names it; of several models, all."""
    gpus = [_gpu_facts(_read(path)) for path in _listed(root / "proc/driver/nvidia/gpus", "*/information")]
    gpus = [gpu for gpu in gpus if gpu.get("Model")]
    for variable in ("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        said = environ.get(variable)
        if said is None:
            continue
        if said.strip().lower() in _NO_GPU:
            return ""
        gpus = _visible(gpus, said, by_number=variable.startswith("CUDA"))
    models = sorted({gpu["Model"] for gpu in gpus})
    by_number = any(token.strip().isdigit() for token in environ.get("CUDA_VISIBLE_DEVICES", "").split(","))
    if len(models) > 1 and by_number and environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        # CUDA numbers the fastest first, which nobody can tell from here.
        return ""
    return ", ".join(models)


def _visible(gpus: list[dict[str, str]], said: str, *, by_number: bool) -> list[dict[str, str]]:
    """Those of a list that a variable names. What it names by the host's numbers, a container has only these."""
    chosen = []
    for token in (token.strip() for token in said.split(",")):
        if token.isdigit() and by_number and int(token) < len(gpus):
            chosen.append(gpus[int(token)])
        elif token.lower().startswith("gpu-"):
            chosen += [gpu for gpu in gpus if gpu.get("GPU UUID", "").lower().startswith(token.lower())]
        else:
            return chosen or gpus
    return chosen or gpus


def _gpu_facts(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _first(environ: Mapping[str, str], *names: str) -> str:
    return next((environ[name].strip() for name in names if environ.get(name, "").strip()), "")


def _listed(folder: Path, pattern: str) -> Iterable[Path]:
    try:
        return sorted(folder.glob(pattern))[:_GPUS_MAX]
    except (OSError, ValueError):
        return ()


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_BYTES_MAX).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""
