"""The table of imports in docs/architecture.md, held against the syntax trees."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("monitor", "collectors", "alerts", "dashboards")
BASE = ("monitor.errors", "monitor.semconv", "monitor.gpu_semconv", "monitor.settings")

# Package -> what of ours it may import, beside itself. The longest matching name counts.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "monitor.errors": (),
    "monitor.semconv": (),
    "monitor.gpu_semconv": (),
    "monitor.settings": ("monitor.errors",),
    "monitor.sdk": ("monitor.errors", "monitor.semconv"),
    "monitor.stats": (),
    "monitor.store": BASE,
    "monitor.kpis": ("monitor.errors", "monitor.semconv", "monitor.store", "monitor.stats"),
    "monitor.plan": ("monitor.errors", "monitor.store", "monitor.kpis", "monitor.stats"),
    "monitor.bias": ("monitor.errors", "monitor.store", "monitor.kpis", "monitor.stats"),
    "monitor.drift": ("monitor.errors", "monitor.store", "monitor.kpis", "monitor.stats"),
    "monitor.iterate": ("monitor.errors", "monitor.store", "monitor.kpis", "monitor.drift"),
    "monitor.probes": (*BASE, "monitor.store", "monitor.kpis", "monitor.stats", "monitor.bias"),
    "monitor.jobs": (
        *BASE,
        "monitor.store",
        "monitor.stats",
        "monitor.kpis",
        "monitor.bias",
        "monitor.drift",
        "monitor.probes",
    ),
    "collectors": (*BASE, "monitor.store"),
    "alerts": (*BASE, "monitor.store", "monitor.kpis", "monitor.stats", "monitor.jobs"),
    "dashboards": (*BASE, "monitor.store", "monitor.kpis", "monitor.plan", "monitor.iterate", "monitor.stats"),
    "monitor.serve": (*BASE, "monitor.store", "monitor.kpis", "monitor.jobs", "collectors", "alerts", "dashboards"),
    "monitor.cli": (
        *BASE,
        "monitor.store",
        "monitor.kpis",
        "monitor.plan",
        "monitor.bias",
        "monitor.drift",
        "monitor.iterate",
        "monitor.probes",
        "monitor.stats",
        "monitor.jobs",
        "monitor.serve",
        "collectors",
        "alerts",
    ),
    # `import monitor` is the SDK.
    "monitor": ("monitor.sdk",),
}
# Distribution's top module -> the only packages that may import it.
ONLY_IN = {
    "clickhouse_connect": ("monitor.store",),
    "chdb": ("monitor.store",),
    "streamlit": ("dashboards", "monitor.serve"),
    "grpc": ("collectors", "monitor.serve"),
    "typer": ("monitor.cli",),
    "apscheduler": ("monitor.jobs",),
    "pandas": (
        "monitor.kpis",
        "monitor.bias",
        "monitor.drift",
        "monitor.jobs",
        "monitor.stats",
        "dashboards",
        "alerts",
    ),
    "sklearn": ("monitor.stats", "monitor.jobs"),
    "genai_prices": ("monitor.jobs",),
}
SDK_MAY_IMPORT = {"opentelemetry", "monitor", *sys.stdlib_module_names}
STATS_MAY_IMPORT = {"numpy", "scipy", "sklearn", "pandas", "monitor", *sys.stdlib_module_names} - {
    "time",
    "datetime",
    "os",
    "random",
}


def modules() -> dict[str, Path]:
    found = {}
    for top in OURS:
        for path in (ROOT / top).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str, *, at_import_time: bool = False) -> Iterator[str]:
    """Full names of what a module imports."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    nodes = _top_level(tree) if at_import_time else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative imports hide where a name comes from"
            base = node.module or ""
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield whole if whole in MODULES else base


def _top_level(tree: ast.Module) -> Iterator[ast.AST]:
    for node in tree.body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node


def package(name: str) -> str:
    return max((each for each in MAY_IMPORT if name == each or name.startswith(f"{each}.")), key=len)


def within(name: str, package_name: str) -> bool:
    return name == package_name or name.startswith(f"{package_name}.")


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_one_way(name: str) -> None:
    home = package(name)
    for wanted in imports(name):
        top = wanted.split(".")[0]
        if top in OURS:
            allowed = (home, *MAY_IMPORT[home]) if home != "monitor" else MAY_IMPORT[home]
            assert any(within(wanted, each) for each in allowed), f"{name} ({home}) may not import {wanted}"
        elif top in ONLY_IN and not (top == "grpc" and home == "monitor.sdk"):
            assert any(within(name, each) for each in ONLY_IN[top]), f"{name} may not import {wanted}"
        if home == "monitor.sdk":
            assert top in SDK_MAY_IMPORT, f"{name}: serving code must not need {top}"
        if home == "monitor.stats":
            assert top in STATS_MAY_IMPORT, f"{name}: numbers in, numbers out; {top} is neither"


def test_there_are_no_cycles() -> None:
    graph = {
        name: {wanted for wanted in imports(name, at_import_time=True) if wanted in MODULES and wanted != name}
        for name in MODULES
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name in done:
            return
        for wanted in graph[name]:
            # A package's __init__ that re-exports its parts is no cycle for a part that imports another part.
            if not name.startswith(f"{wanted}."):
                visit(wanted, (*path, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("statement", ["import monitor", "import monitor.sdk, monitor.semconv, monitor.errors"])
def test_serving_code_stays_light(statement: str) -> None:
    code = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    heavy = {
        "pandas",
        "numpy",
        "scipy",
        "sklearn",
        "chdb",
        "clickhouse_connect",
        "streamlit",
        "pydantic",
        "starlette",
        "typer",
        "grpc",
    }
    assert not heavy & set(loaded)


def test_nothing_names_a_package_index() -> None:
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    # In pieces, so that this line is no hit itself.
    hosts = re.compile(
        "|".join((r"files\.python" + "hosted", r"pypi\." + "org", r"registry\.npm" + "js", r"--extra-" + "index-url"))
    )
    for name in tracked:
        path = ROOT / name
        if path.is_file() and path.suffix not in (".png", ".gz", ".binpb"):
            found = hosts.search(path.read_text(encoding="utf-8", errors="replace"))
            assert found is None, f"{name} names {found.group() if found else ''}"
