from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gatework.layers.softmax import AdaptiveSoftmax, Softmax, default_cutoffs
from tests.tolerances import GRADIENTS, ROUNDING, VALUES, assert_close, close_to

WIDTH, VOCABULARY = 7, 23
CUTOFFS = [[5], [3, 11], [1, 2, 22]]


def dense_log_prob(softmax: AdaptiveSoftmax, hidden: torch.Tensor) -> torch.Tensor:
    """The definition, token by token: p(token) = p(cluster) p(token | cluster)."""
    logits = hidden @ softmax.weight.T + softmax.bias
    clusters = hidden @ softmax.cluster_weight.T + softmax.cluster_bias
    edges = [*softmax.cutoffs, softmax.vocabulary_size]
    head = torch.cat([logits[:, : edges[0]], clusters], dim=1)
    normaliser = head.exp().sum(1)
    columns = []
    for token in range(softmax.vocabulary_size):
        cluster = sum(token >= edge for edge in edges[:-1])
        if cluster == 0:
            columns.append(logits[:, token].exp() / normaliser)
            continue
        low, high = edges[cluster - 1], edges[cluster]
        inside = logits[:, token].exp() / logits[:, low:high].exp().sum(1)
        columns.append(clusters[:, cluster - 1].exp() / normaliser * inside)
    return torch.stack(columns, dim=1).log()


def make(cutoffs, weight=None):
    torch.manual_seed(0)
    softmax = AdaptiveSoftmax(WIDTH, VOCABULARY, cutoffs, weight=weight).double()
    for parameter in softmax.parameters():
        nn.init.normal_(parameter)
    return softmax


@pytest.mark.parametrize("cutoffs", CUTOFFS)
def test_adaptive_equals_its_definition_and_normalises(cutoffs):
    softmax = make(cutoffs)
    hidden = torch.randn(9, WIDTH, dtype=torch.float64)
    log_prob = softmax.log_prob(hidden)
    assert_close(log_prob, dense_log_prob(softmax, hidden), ROUNDING)
    assert_close(log_prob.exp().sum(1), torch.ones(9, dtype=torch.float64), ROUNDING)


@pytest.mark.parametrize("cutoffs", CUTOFFS)
def test_adaptive_loss_and_gradients_equal_the_dense_ones(cutoffs):
    softmax = make(cutoffs)
    targets = torch.arange(VOCABULARY).repeat(2)  # every token, so every cluster
    hidden = torch.randn(len(targets), WIDTH, dtype=torch.float64, requires_grad=True)
    inputs = [hidden, *softmax.parameters()]
    dense = F.nll_loss(dense_log_prob(softmax, hidden), targets, reduction="sum")
    expected = torch.autograd.grad(dense, inputs)
    loss = softmax.loss(hidden, targets)
    assert_close(loss, dense, VALUES)
    torch.testing.assert_close(softmax.losses(hidden, targets).sum(), loss)
    for got, wanted in zip(torch.autograd.grad(loss, inputs), expected, strict=True):
        assert_close(got, wanted, GRADIENTS)


def test_adaptive_with_targets_of_the_head_alone():
    softmax = make([5, 11])
    hidden, targets = torch.randn(4, WIDTH, dtype=torch.float64), torch.tensor([0, 4, 2, 0])
    losses = softmax.losses(hidden, targets)
    expected = -softmax.log_prob(hidden).gather(1, targets[:, None]).squeeze(1)
    assert_close(losses, expected, ROUNDING)


def test_plain_softmax_is_cross_entropy():
    softmax = Softmax(WIDTH, VOCABULARY)
    hidden, targets = torch.randn(6, WIDTH), torch.randint(VOCABULARY, (6,))
    logits = hidden @ softmax.weight.T + softmax.bias
    torch.testing.assert_close(
        softmax.losses(hidden, targets), F.cross_entropy(logits, targets, reduction="none")
    )
    torch.testing.assert_close(softmax.log_prob(hidden), logits.log_softmax(-1))


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_tied_weight_is_one_parameter(adaptive):
    embedding = nn.Embedding(VOCABULARY, WIDTH)
    if adaptive:
        softmax = AdaptiveSoftmax(WIDTH, VOCABULARY, [5, 11], weight=embedding.weight)
    else:
        softmax = Softmax(WIDTH, VOCABULARY, weight=embedding.weight)
    model = nn.ModuleList([embedding, softmax])
    assert sum(p.shape == (VOCABULARY, WIDTH) for p in model.parameters()) == 1
    tokens = torch.tensor([1, 2, 20])
    softmax.loss(embedding(tokens), tokens.flip(0)).backward()
    assert embedding.weight.grad is softmax.weight.grad


def test_wrong_widths_and_cutoffs_are_refused():
    with pytest.raises(ValueError, match=r"\(23, 7\), this one is \(23, 8\)"):
        Softmax(WIDTH, VOCABULARY, weight=nn.Parameter(torch.zeros(VOCABULARY, 8)))
    for cutoffs in ([], [0], [VOCABULARY], [5, 5], [6, 5]):
        with pytest.raises(ValueError, match="cutoffs rise strictly"):
            AdaptiveSoftmax(WIDTH, VOCABULARY, cutoffs)


@pytest.mark.parametrize("size", [3, 50, 33278])
def test_default_cutoffs_are_legal(size):
    AdaptiveSoftmax(2, size, default_cutoffs(size))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_summed_loss_is_torchs_block_by_block(
    smoothing: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gatework.backends.compiled.dense import cross_entropy

    monkeypatch.setattr(cross_entropy, "_TABLE", 64 * 101)  # 150 rows are three blocks
    torch.manual_seed(0)
    softmax = Softmax(37, 101).to(dtype)
    nn.init.normal_(softmax.weight)
    nn.init.normal_(softmax.bias)
    hidden = torch.randn(150, 37, dtype=dtype, requires_grad=True)
    targets = torch.randint(0, 101, (150,))
    wanted = [hidden, softmax.weight, softmax.bias]
    got = 3 * softmax.loss(hidden, targets, smoothing)
    logits = hidden.double() @ softmax.weight.double().T + softmax.bias.double()
    expected = 3 * F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    assert got.item() == close_to(expected.item(), dtype)
    mine, theirs = torch.autograd.grad(got, wanted), torch.autograd.grad(expected, wanted)
    for a, b in zip(mine, theirs, strict=True):
        assert_close(a, b, GRADIENTS)
    with torch.no_grad():
        assert softmax.loss(hidden, targets, smoothing).item() * 3 == close_to(got.item(), dtype)
    assert softmax.losses(hidden, targets, smoothing).sum().item() * 3 == close_to(got.item(), dtype)


def test_the_summed_loss_has_second_derivatives() -> None:
    softmax = Softmax(5, 9).double()
    hidden = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 9, (6,))
    assert torch.autograd.gradgradcheck(
        lambda h, w: _loss_of(softmax, h, w, targets), (hidden, softmax.weight)
    )


def _loss_of(
    softmax: Softmax, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    from gatework.backends.compiled.dense.cross_entropy import cross_entropy
    from gatework.backends.llvm import machine

    return cross_entropy(machine.host(), hidden, weight, softmax.bias, targets, 0.1)


def test_gradients_of_the_summed_loss_go_only_where_they_are_wanted() -> None:
    softmax = Softmax(5, 9)
    softmax.requires_grad_(False)
    hidden = torch.randn(6, 5, requires_grad=True)
    softmax.loss(hidden, torch.zeros(6, dtype=torch.long)).backward()
    assert hidden.grad is not None
    assert softmax.weight.grad is None


@pytest.mark.parametrize("rows", [1, 16, 45])
@pytest.mark.parametrize("count", [1, 5, 101])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_best_tokens_are_those_of_the_whole_table(
    dtype: torch.dtype, count: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gatework.backends.compiled.dense import cross_entropy

    monkeypatch.setattr(cross_entropy, "_TABLE", 101)  # blocks of the fewest rows
    torch.manual_seed(0)
    softmax = Softmax(37, 101).to(dtype)
    nn.init.normal_(softmax.weight)
    nn.init.normal_(softmax.bias)
    hidden = torch.randn(rows, 37, dtype=dtype)
    with torch.no_grad():
        for forbidden in ((), (3, 100)):
            values, tokens = softmax.best(hidden, count, forbidden)
            table = torch.log_softmax(hidden.double() @ softmax.weight.double().T + softmax.bias.double(), 1)
            table[:, list(forbidden)] = -torch.inf
            expected, places = table.topk(count, dim=1)
            assert values.shape == tokens.shape == (rows, count)
            assert_close(values.double(), expected, dtype=dtype)
            if dtype is torch.float64:
                there = expected > -torch.inf
                assert torch.equal(tokens[there], places[there])
            alone = [softmax.best(row[None], count, forbidden) for row in hidden]
            assert torch.equal(torch.cat([one for one, _ in alone]), values)
            assert torch.equal(torch.cat([one for _, one in alone]), tokens)


def test_of_equal_tokens_the_first_is_the_best() -> None:
    softmax = Softmax(3, 40)
    nn.init.zeros_(softmax.weight)
    with torch.no_grad():
        values, tokens = softmax.best(torch.ones(2, 3), 4, [1])
    assert tokens.tolist() == [[0, 2, 3, 4]] * 2
    torch.testing.assert_close(values.exp(), torch.full((2, 4), 1 / 40))
    assert softmax.best(torch.ones(2, 3), 99)[1].shape == (2, 40)


def test_an_adaptive_softmax_has_best_tokens_too() -> None:
    torch.manual_seed(0)
    softmax = AdaptiveSoftmax(5, 30, [4, 10])
    hidden = torch.randn(6, 5)
    with torch.no_grad():
        values, tokens = softmax.best(hidden, 3, [2])
        table = softmax.log_prob(hidden)
    table[:, 2] = -torch.inf
    expected, places = table.topk(3, dim=1)
    assert torch.equal(values, expected)
    assert torch.equal(tokens, places)
