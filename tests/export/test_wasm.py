"""Exported WebAssembly in Node, beside the layers that it was made of."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

import gatework as gw
from gatework.errors import MissingExtraError
from gatework.export.wasm import link
from tests.contracts.test_cells import users_own
from tests.export.test_native import layer_of
from tests.tolerances import EXPORTED, assert_close

SCRIPT = """
import { readFileSync } from "node:fs";
const { load } = await import(process.argv[1]);
const networks = await load();
const given = JSON.parse(readFileSync(0, "utf-8"));
const run = new Function("networks", "given", given.run);
const plain = (key, value) => (value instanceof Float32Array ? Array.from(value) : value);
console.log(JSON.stringify(run(networks, given), plain));
"""
STEPS = """
const stream = networks.model.stream(given.further);
return given.x.map((x, t) => stream.step(x, given.inputs?.[t]));
"""


def in_node(folder: Path, run: str, name: str = "model", **given: Any) -> Any:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    done = subprocess.run(
        ["node", "--input-type=module", "-e", SCRIPT, "--", str(folder / f"{name}.mjs")],
        input=json.dumps({"run": run, **given}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def outputs(results: list[dict[str, Any]], name: str = "output") -> torch.Tensor:
    return torch.tensor([result[name] for result in results])


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_steps_give_the_numbers_of_the_stream(tmp_path: Path, weights: Any) -> None:
    layer = layer_of("layer_norm_lstm", num_layers=2)
    made = gw.export_layer(layer, tmp_path / "out", to="wasm", weights=weights)
    x = torch.randn(6, 1, 5)
    with gw.backend("eager"):
        stream = layer.stream(weights="full" if weights == "float32" else "int8")
        expected = torch.stack([stream.step(value)[0].clone() for value in x])
    assert_close(outputs(in_node(made.folder, STEPS, x=x[:, 0].tolist())), expected, EXPORTED)
    assert made.files["model.wasm"] < made.code_bytes + made.data_bytes + 4_000


def test_a_users_cell_in_two_directions(tmp_path: Path) -> None:
    layer, x = layer_of(users_own, num_layers=2, bidirectional=True), torch.randn(6, 1, 5)
    made = gw.export_layer(layer, tmp_path / "out", to="wasm")
    result = in_node(
        made.folder, "return networks.model.stream().sequence(given.x).output", x=x.flatten().tolist()
    )
    assert_close(torch.tensor(result).view(6, -1), layer(x)[0][:, 0].detach(), EXPORTED)


def test_a_decoder_with_its_memory_and_its_alignment(tmp_path: Path) -> None:
    layer, memory, x = layer_of("bahdanau_gru"), torch.randn(9, 1, 7), torch.randn(4, 1, 5)
    made = gw.export_layer(layer, tmp_path / "out", to="wasm", emit=["source"])
    further = {"memory": memory.flatten().tolist()}
    results = in_node(made.folder, STEPS, x=x[:, 0].tolist(), further=further)
    expected = layer(x, memory=memory, emit=["source"])[0]
    for name in ("output", "context", "source"):
        assert_close(outputs(results, name), expected[name][:, 0].detach(), EXPORTED)


def test_further_inputs(tmp_path: Path) -> None:
    layer, (x, mask, gap) = layer_of("gru_d"), torch.rand(3, 6, 1, 5).round(decimals=1)
    made = gw.export_layer(layer, tmp_path / "out", to="wasm")
    inputs = [
        {"mask": m.flatten().tolist(), "gap": g.flatten().tolist()} for m, g in zip(mask, gap, strict=True)
    ]
    results = in_node(made.folder, STEPS, x=x[:, 0].tolist(), inputs=inputs)
    assert_close(outputs(results), layer(x, inputs={"mask": mask, "gap": gap})[0][:, 0].detach(), EXPORTED)


def test_tokens_states_and_memory_that_is_given_back(tmp_path: Path) -> None:
    layer, table, head = layer_of("gru"), torch.nn.Embedding(13, 5), torch.nn.Linear(11, 37)
    made = gw.export_layer(layer, tmp_path / "out", to="wasm", table=table, head=head)
    run = """
        const stream = networks.model.stream();
        stream.step(3);
        const kept = stream.state, end = networks.model.heap.end;
        const once = stream.step(7).output;
        for (let n = 0; n < 100; n++) { stream.step(1); networks.model.stream().close(); }
        stream.state = kept;
        let refused = "";
        try { stream.step(13); } catch (error) { refused = error.message; }
        return [once, stream.step(7).output, networks.model.heap.end - end, refused];
    """
    once, again, grown, refused = in_node(made.folder, run)
    assert once == again
    assert grown < 4_000
    assert refused == "token 13: tokens are whole numbers from 0 to 12."
    with torch.no_grad():
        expected = head(layer(table(torch.tensor([[3], [7]])))[0][1, 0])
    assert_close(torch.tensor(once), expected, EXPORTED)


def test_wrong_numbers_are_refused(tmp_path: Path) -> None:
    made = gw.export_layer(layer_of("lstm"), tmp_path / "out", to="wasm")
    run = "try { networks.model.stream().step([1, 2]); } catch (error) { return error.message; }"
    assert in_node(made.folder, run) == "x is 2 numbers; expected 5 numbers."


def test_without_a_linker_the_error_says_what_to_install(tmp_path: Path) -> None:
    with (
        mock.patch.object(link.shutil, "which", return_value=None),
        mock.patch.dict(sys.modules, {"ziglang": None}),
        pytest.raises(MissingExtraError, match=r"ziglang is needed .* pip install 'gatework\[link\]'"),
    ):
        gw.export_layer(gw.LSTM(3, 4), tmp_path / "out", to="wasm")
    assert not (tmp_path / "out").exists()


def test_the_sizes_of_a_modules_sections() -> None:
    def section(kind: int, size: int) -> bytes:
        return bytes([kind, 0x80 | size % 128, size // 128, *[0] * size])

    module = b"\0asm\1\0\0\0" + section(1, 5) + section(10, 300) + section(11, 129)
    assert link.section_sizes(module) == {"code": 300, "data": 129}
    assert np.sum(list(link.section_sizes(module).values())) == 429
