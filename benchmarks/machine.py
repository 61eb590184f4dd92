"""What a figure was measured on, and with which code: stored beside every result."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import isa
import torch
from peak import peak_gflops

from gatework.backends.llvm.codegen import target
from gatework.backends.processor import processor, vector_features


def machine() -> dict[str, Any]:
    """Processor, its vector unit and measured peak, cores, memory (GB), load, versions, commit, and the command line.

    A name such as "AMD EPYC" stands for processors of five generations. Family, model and stepping tell them apart;
    `isa` is the instruction set that was measured, `features` are what the engine's code had of it (a virtual machine
    may hide some), `vector_bytes` the width of its registers, and `peak_gflops` what multiply-adds between registers
    reach on all threads. `peers` is what the environment said to the peers, and `torch_isa` what torch took.
    """
    host = target.host()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        **processor(),
        "isa": host.isa,
        "features": vector_features(host),
        "vector_bytes": host.vector_bytes,
        "peak_gflops": {dtype: round(peak_gflops(dtype, host), 1) for dtype in ("float32", "float64")},
        "peers": isa.peers_settings(),
        "torch_isa": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(pages * os.sysconf("SC_PAGE_SIZE") / 1e9, 1) if pages else None,
        "load": os.getloadavg()[0],  # at the start: above 0, somebody else was measured too
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit.stdout.strip() or None,
        # A folder of this machine says nothing to others: its last name stands for it.
        "command": " ".join(
            ["python", *(Path(word).name if Path(word).is_absolute() else word for word in sys.argv)]
        ),
    }
