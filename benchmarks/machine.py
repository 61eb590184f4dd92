"""What a figure was measured on, and with which code: stored beside every result."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from peak import peak_gflops

from gatework.backends.llvm.codegen import target

# The features that say which vector instructions a processor has, by LLVM's names.
VECTOR_FEATURES = ("sse", "avx", "fma", "f16c", "amx", "neon", "sve", "bf16", "fullfp16")


def machine() -> dict[str, Any]:
    """Processor, its vector unit and measured peak, cores, memory (GB), load, versions, commit, and the command line.

    A name such as "AMD EPYC" stands for processors of five generations. Family, model and stepping tell them apart;
    `features` are those that this machine has (a virtual machine may hide some), `vector_bytes` the width of the
    registers that the engine takes, and `peak_gflops` what multiply-adds between registers reach on all threads.
    """
    host = target.host()
    known = [feature[1:] for feature in host.features.split(",") if feature.startswith("+")]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        **_processor(),
        "features": sorted(feature for feature in known if feature.startswith(VECTOR_FEATURES)),
        "vector_bytes": host.vector_bytes,
        "peak_gflops": {
            dtype: round(peak_gflops(dtype, host.vector_bytes, host.fma), 1)
            for dtype in ("float32", "float64")
        },
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(pages * os.sysconf("SC_PAGE_SIZE") / 1e9, 1) if pages else None,
        "load": os.getloadavg()[0],  # at the start: above 0, somebody else was measured too
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit.stdout.strip() or None,
        "command": " ".join(["python", *sys.argv]),
    }


def _processor() -> dict[str, str | None]:
    """What the operating system says of the first processor; None for what it does not say."""
    cpuinfo = Path("/proc/cpuinfo")
    first = cpuinfo.read_text().split("\n\n")[0] if cpuinfo.exists() else ""
    says = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())
    }
    return {
        "cpu": says.get("model name") or platform.processor() or platform.machine(),
        "vendor": says.get("vendor_id"),
        "family": says.get("cpu family"),
        "model": says.get("model"),
        "stepping": says.get("stepping"),
    }
