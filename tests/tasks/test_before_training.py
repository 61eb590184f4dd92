"""What would fail late is refused before anything is read or written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from gatework import tasks
from gatework.errors import InputError
from gatework.metrics.text import scorers
from gatework.training import memory
from gatework.training.memory import available_memory, check_memory, is_out_of_memory
from tests.contracts.task_examples import EXAMPLES


def test_a_tokenizer_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "MeCab", None)
    monkeypatch.delitem(sys.modules, "sacrebleu.tokenizers.tokenizer_ja_mecab", raising=False)
    match = r"option bleu_tokenize: .*ja-mecab needs a package.*pip install 'sacrebleu\[ja\]'"
    model = tasks.get("translator")(bleu_tokenize="ja-mecab")
    with pytest.raises(InputError, match=match) as caught:
        model.fit(tmp_path / "absent.tsv", out=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=match):
        scorers("ja-mecab")


@pytest.mark.parametrize("name", tasks.names())
def test_a_network_beyond_all_memory(name: str, tmp_path: Path) -> None:
    some = EXAMPLES[name]
    model = tasks.get(name)(**{**some.options, "hidden_size": 2**19})
    with pytest.raises(
        InputError, match=r"TB of weights, .* of memory are free. Lower hidden_size"
    ) as caught:
        model.fit(some.rows, valid=some.valid, out=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_free_memory_is_the_least_that_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert available_memory() == 4000
    with torch.device("meta"):
        check_memory(torch.nn.Linear(15, 15))  # 960 bytes
        with pytest.raises(InputError, match="1088 bytes of weights, and training takes 4352 bytes at least"):
            check_memory(torch.nn.Linear(16, 16))
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() != 4000


def test_errors_of_memory_are_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
