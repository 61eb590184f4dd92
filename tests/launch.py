"""Starting a test's module as several processes that train together."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

__all__ = ["launch"]

ROOT = Path(__file__).resolve().parent.parent


def launch(module: str, folder: Path, processes: int = 2) -> str:
    """Run `python -m module folder` in several processes, each on one thread; what they wrote to standard error.

    Raises:
        AssertionError: one of them failed; with the end of what they wrote.
    """
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    # accelerate launch runs this on GPUs; on CPUs it starts one process only.
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    command += ["--master_addr", "127.0.0.1", "--master_port", str(port), "-m", module, str(folder)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stderr
