"""What the first layer of a program costs, and what several threads may do with one."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import gatework as gw


@pytest.mark.parametrize("use", ["gw.LSTM(8, 8)", "gw.LSTM(8, 8)(torch.zeros(5, 1, 8))"])
def test_the_first_layer_loads_no_compiler_of_torchs(use: str) -> None:
    """Beside `import torch` in the same process, so that a busy machine lengthens both; torch._dynamo and sympy alone
    take about as long as it does.
    """
    code = (
        "import sys, time, json\n"
        "before = time.process_time()\n"
        "import torch\n"
        "clock = time.process_time()\n"
        "import gatework as gw\n"
        f"{use}\n"
        "late = [name for name in ('torch._dynamo', 'sympy') if name in sys.modules]\n"
        "print(json.dumps([(time.process_time() - clock) / (clock - before), late]))"
    )
    share, late = 9.0, ["?"]
    for _ in range(8):  # the least one counts
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        share, late = json.loads(done.stdout)
        if share < 0.2 or "zeros" in use:
            break
    assert late == []
    if "zeros" not in use:  # a first call also compiles, or reads what was compiled
        assert share < 0.2, f"the first layer took {share:.2f} of the processor time of torch's own import"


@pytest.mark.parametrize(
    ("use", "packages", "most"),
    [
        ("import gatework as gw; gw.LSTM(8, 8)", "gatework", 120),
        (
            "from gatework.cli import main; main(['train', 'translator', 'nosuch', '--out', 'nosuch'])",
            "gatework rich pydantic pydantic_core typer typing_inspection shellingham annotated_doc annotated_types "
            "click",
            200,
        ),
    ],
)
def test_a_first_use_imports_little_beside_torch(use: str, packages: str, most: int) -> None:
    """Both take less than half a second of processor time over `import torch` on a machine that is idle."""
    code = (
        "import sys, json, torch\n"
        "before = set(sys.modules)\n"
        f"{use}\n"
        "new = set(sys.modules) - before\n"
        "print(json.dumps([len(new), sorted({name.split('.')[0] for name in new} - sys.stdlib_module_names)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, found = json.loads(done.stdout.splitlines()[-1])
    # What CPython names after the platform is no package.
    assert {name for name in found if not name.startswith("_")} <= set(packages.split())
    assert count <= most


@pytest.mark.parametrize("cell", ["lstm", "layer_norm_lstm"])
def test_a_loaded_layer_may_be_called_from_several_threads(cell: str) -> None:
    """Every thread gets the bits that it would get alone, and its own choice of a backend."""
    layer = gw.Recurrent(cell, 6, 9, num_layers=2)
    batches = [torch.randn(2 + index % 5, 1 + index % 3, 6) for index in range(24)]
    lengths = [torch.arange(x.shape[1]) % x.shape[0] + 1 for x in batches]

    def call(index: int) -> list[torch.Tensor]:
        x = batches[index]
        with gw.backend("eager" if index % 4 == 3 else "llvm"):
            output, _ = layer(x)
            ragged, _ = layer(x, lengths=lengths[index])
            gradient = torch.autograd.grad(output.sum(), layer.weight_hh_l0)[0]
            stream = layer.stream(x.shape[1])
            steps = torch.stack([stream.step(step).clone() for step in x])
        return [output.detach(), ragged.detach(), gradient, steps]

    expected = [call(index) for index in range(len(batches))]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(call, range(len(batches))))
    for index, (one, other) in enumerate(zip(expected, found, strict=True)):
        for a, b in zip(one, other, strict=True):
            if index % 4 == 3:  # the last bits of torch's products depend on where their memory lies
                torch.testing.assert_close(a, b)
            else:
                assert torch.equal(a, b), index


def test_an_executors_threads_begin_with_auto() -> None:
    layer = gw.GRU(2, 3)
    with gw.backend("eager"), ThreadPoolExecutor(1) as pool:
        assert gw.explain(layer).name == "eager"
        assert pool.submit(lambda: gw.explain(layer).name).result() == "llvm"
