from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gatework.layers.softmax import AdaptiveSoftmax, Softmax, default_cutoffs

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
    torch.testing.assert_close(log_prob, dense_log_prob(softmax, hidden), atol=1e-12, rtol=0)
    torch.testing.assert_close(log_prob.exp().sum(1), torch.ones(9, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("cutoffs", CUTOFFS)
def test_adaptive_loss_and_gradients_equal_the_dense_ones(cutoffs):
    softmax = make(cutoffs)
    targets = torch.arange(VOCABULARY).repeat(2)  # every token, so every cluster
    hidden = torch.randn(len(targets), WIDTH, dtype=torch.float64, requires_grad=True)
    inputs = [hidden, *softmax.parameters()]
    dense = F.nll_loss(dense_log_prob(softmax, hidden), targets, reduction="sum")
    expected = torch.autograd.grad(dense, inputs)
    loss = softmax.loss(hidden, targets)
    torch.testing.assert_close(loss, dense, atol=1e-10, rtol=0)
    torch.testing.assert_close(softmax.losses(hidden, targets).sum(), loss)
    for got, wanted in zip(torch.autograd.grad(loss, inputs), expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-10, rtol=0)


def test_adaptive_with_targets_of_the_head_alone():
    softmax = make([5, 11])
    hidden, targets = torch.randn(4, WIDTH, dtype=torch.float64), torch.tensor([0, 4, 2, 0])
    losses = softmax.losses(hidden, targets)
    expected = -softmax.log_prob(hidden).gather(1, targets[:, None]).squeeze(1)
    torch.testing.assert_close(losses, expected, atol=1e-12, rtol=0)


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
