"""Which processor this is: what stands beside a figure that was measured on it, and what a cost table belongs to."""

from __future__ import annotations

import hashlib
import json
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gatework.backends.llvm.codegen.target import Target

# The features that say which vector instructions a processor has, by LLVM's names.
_VECTOR_FEATURES = ("sse", "avx", "fma", "f16c", "amx", "neon", "sve", "bf16", "fullfp16")


@cache
def processor() -> dict[str, str | None]:
    """What the operating system says of the first processor; None for what it does not say.

    A name such as "AMD EPYC" stands for processors of five generations: family, model and stepping tell them apart.
    """
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


def vector_features(target: Target) -> list[str]:
    """The vector instructions that code for a target may have, by LLVM's names, in order."""
    have = (feature[1:] for feature in target.features.split(",") if feature.startswith("+"))
    return sorted(feature for feature in have if feature.startswith(_VECTOR_FEATURES))


def identity(target: Target) -> dict[str, Any]:
    """What a cost table of this machine's own was measured for: with anything else of it the table is left unread."""
    return {
        "version": version("gatework"),
        "isa": target.isa,
        "processor": processor(),
        "features": vector_features(target),
    }


def table_name(target: Target) -> str:
    """The file name of this machine's own cost table: machines that differ may share a folder."""
    machine = json.dumps([processor(), vector_features(target)], sort_keys=True)
    return f"costs-{target.isa}-{hashlib.sha256(machine.encode()).hexdigest()[:12]}.json"
