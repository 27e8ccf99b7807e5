"""NVIDIA's library without a GPU: compiles `nvml_standin.c`, and writes the file that it answers from."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from tests.tools import system

SOURCE = Path(__file__).with_name("nvml_standin.c")

H100 = """
gpu0.uuid=GPU-aaaaaaaa-0000-0000-0000-000000000000
gpu0.name=NVIDIA H100 80GB HBM3
gpu0.utilization=97
gpu0.memory_utilization=41
gpu0.encoder=3
gpu0.decoder=5
gpu0.memory_total=85899345920
gpu0.memory_free=5899345920
gpu0.memory_reserved=500000000
gpu0.power=623500
gpu0.power_limit=700000
gpu0.energy=123456789
gpu0.temperature=64
gpu0.reasons=4
gpu0.sm_clock=1755
gpu0.memory_clock=2619
gpu0.ecc_corrected=2
gpu0.ecc_uncorrected=0
gpu0.remapped=1 0 0 0
gpu0.pcie_tx=1200
gpu0.pcie_rx=34000
gpu0.field82=71
gpu0.field94=6
gpu0.field138=1000
gpu0.field139=2000
gpu0.processes=4242:79000000000 4243:-1
gpu0.mig=0
gpu0.events=8
driver=580.65.06
"""
# A card that supports little, as workstation cards do.
PLAIN = """
gpu1.uuid=GPU-bbbbbbbb-0000-0000-0000-000000000000
gpu1.name=NVIDIA T400
gpu1.utilization=0
gpu1.memory_total=2000000000
gpu1.memory_free=1900000000
gpu1.temperature=35
gpu1.power.error=4
gpu1.processes=
"""


def build(folder: Path, *, old_driver: bool = False) -> Path:
    """Compile it into `folder` as `libnvidia-ml.so.1`."""
    cc = system.find_compiler()
    assert cc is not None, "no C compiler; run: python -m tests.tools.system"
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "libnvidia-ml.so.1"
    define = ["-DOLD_DRIVER"] if old_driver else []
    subprocess.run(
        [*shlex.split(cc), "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", *define,
         "-Wl,-soname,libnvidia-ml.so.1", "-o", str(library), str(SOURCE), "-lpthread"],
        check=True,
    )  # fmt: skip
    return library


class Standin:
    """What the library answers: text of `key=value` lines, later ones over earlier ones; None removes one."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._values: dict[str, str] = {}
        for line in text.strip().splitlines():
            key, _, value = line.partition("=")
            self._values[key] = value
        self._write()

    def set(self, **values: str | int | None) -> None:
        """Change answers; `__` in a name stands for a dot."""
        for name, value in values.items():
            key = name.replace("__", ".")
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = str(value)
        self._write()

    def environment(self, library: Path) -> dict[str, str]:
        """For a process of its own."""
        return {"NVML_STANDIN": str(self.path), "LD_LIBRARY_PATH": str(library.parent)}

    def _write(self) -> None:
        part = self.path.with_suffix(".part")
        part.write_text("".join(f"{key}={value}\n" for key, value in self._values.items()))
        part.replace(self.path)
