from __future__ import annotations

import shutil
import subprocess

import pytest
import torch

import gatework as gw
from gatework.errors import GateworkError
from gatework.export.exportable import export_task
from gatework.export.files import ExportOptions
from tests.tolerances import EXPORTED, assert_close


def test_a_run_is_exported_and_its_example_gives_the_models_logits(gatework, run, tmp_path):
    out = tmp_path / "out"
    done = gatework("export", run, "--out", out, "--target", "native")
    assert done.code == 0
    assert "language_model for native: code" in done.err
    assert f"{out / 'language_model.o'}  " in done.out
    model = gw.load(run)
    assert gw.data.Tokenizer.from_json((out / "tokenizer.json").read_text()).encode(
        "the"
    ) == model.tokenizer_.encode("the")
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    subprocess.run(["gcc", out / "main.c", out / "language_model.o", "-o", out / "own"], check=True)
    tokens = model.tokenizer_.encode("the hand")
    given = " ".join(map(str, tokens))
    printed = subprocess.run([out / "own"], input=given, capture_output=True, text=True, check=True).stdout
    logits = torch.tensor([[float(value) for value in line.split()] for line in printed.splitlines()])
    hidden, _ = model.network_.hidden(torch.tensor(tokens)[:, None])
    expected = model.network_.softmax.log_prob(hidden[:, 0])
    assert_close(logits.log_softmax(-1), expected.detach(), EXPORTED)


@pytest.mark.parametrize("to", ["c", "onnx"])
def test_a_step_that_gives_other_numbers_is_not_written(run, tmp_path, to):
    model = gw.load(run)
    given = model._exported()
    model.network_.embedding_scale *= 1.1
    with pytest.raises(GateworkError, match=r"differ from the network's by .*; nothing is written"):
        export_task(given, tmp_path / "out", to, ExportOptions())
    assert not (tmp_path / "out").exists()


def test_a_layer_of_a_users_file(gatework, tmp_path):
    file = tmp_path / "own.py"
    file.write_text("import gatework as gw\nlayer = gw.GRU(3, 4)\nother = 1\n")
    out = tmp_path / "out"
    done = gatework(
        "export", f"{file}:layer", "--out", out, "--target", "thumbv7em-none-eabihf", "--name", "gru"
    )
    assert done.code == 0
    assert {path.name for path in out.iterdir()} == {"gru.o", "gru.h", "main.c", "README.md"}
    again = gatework("export", f"{file}:layer", "--out", out)
    assert again.code == 2
    assert "is there already" in again.err
    wrong = gatework("export", f"{file}:layers", "--out", tmp_path / "a")
    assert "there is no layers. Did you mean 'layer'?" in wrong.err
    small = gatework("export", f"{file}:layer", "--out", tmp_path / "b", "--flash", "1K")
    assert small.code == 2
    assert small.err.index("for native: code") < small.err.index("flash=1,024: model needs")
    assert (
        "--flash: is '1G'"
        in gatework("export", f"{file}:layer", "--out", tmp_path / "b", "--flash", "1G").err
    )


def test_what_has_no_export_says_so(tmp_path):
    rows = [{"context": "Ann went to Rome.", "question": "Who?", "answer": "Ann"}] * 8
    task = gw.Reader(max_steps=1, hidden_size=8, embedding_size=8).fit(rows, valid=rows, out=tmp_path / "run")
    with pytest.raises(gw.InputError, match=r"reader: this task has no export\. Export a layer"):
        task.export(tmp_path / "out")
