"""The linear chain against the sum over all sequences of tags: log Z, gradients, marginals, the best path."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from gatework.layers.linear_chain import (
    Chain,
    LinearChainCRF,
    best_paths,
    log_partition,
    marginals,
    path_score,
)
from tests.tolerances import GRADIENTS, TOTALS, assert_close

SHAPES = [
    (4, 3, [4, 1, 3]),
    (5, 2, [2, 5]),
    (1, 4, [1, 1]),
    (3, 1, [3, 2, 0]),
    (2, 5, [0, 0]),
]  # T, K, lengths


def random_chain(tags: int, seed: int = 0) -> Chain:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((tags, tags), (tags,), (tags,))
    return Chain(*(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes))


def random_emissions(steps: int, rows: int, tags: int, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(steps + tags)
    return torch.randn(steps, rows, tags, generator=generator, dtype=torch.float64) * scale


def all_paths(chain: Chain, emissions: Tensor) -> tuple[list[tuple[int, ...]], Tensor]:
    """Every sequence of tags of one row's emissions, (T, K), and its score by the definition."""
    steps, tags = emissions.shape
    paths = list(itertools.product(range(tags), repeat=steps))
    scores = [
        chain.start[path[0]]
        + chain.end[path[-1]]
        + sum(emissions[step, tag] for step, tag in enumerate(path))
        + sum(chain.transitions[one, other] for one, other in itertools.pairwise(path))
        for path in paths
    ]
    return paths, torch.stack([torch.as_tensor(score) for score in scores])


def by_definition(chain: Chain, emissions: Tensor, lengths: list[int]) -> Tensor:
    logs = [all_paths(chain, emissions[:n, row])[1].logsumexp(0) if n else 0 for row, n in enumerate(lengths)]
    return torch.stack([torch.as_tensor(value, dtype=emissions.dtype) for value in logs])


@pytest.mark.parametrize(("steps", "tags", "lengths"), SHAPES)
def test_sum_and_gradients_are_those_of_all_sequences(steps: int, tags: int, lengths: list[int]) -> None:
    chain, emissions = random_chain(tags), random_emissions(steps, len(lengths), tags)
    got = []
    for function in (log_partition, by_definition):
        given = [value.clone().requires_grad_() for value in (*chain, emissions)]
        counts = torch.tensor(lengths) if function is log_partition else lengths
        total = function(Chain(*given[:3]), given[3], counts)  # type: ignore[operator]
        weights = torch.arange(1.0, len(lengths) + 1, dtype=torch.float64)
        sums = (total * weights).sum() + 0 * sum(value.sum() for value in given)
        got.append((total.detach(), torch.autograd.grad(sums, given)))
    (total, gradients), (expected, expected_gradients) = got
    assert_close(total, expected, TOTALS)
    assert_close(list(gradients), list(expected_gradients), GRADIENTS)


@pytest.mark.parametrize(("steps", "tags", "lengths"), SHAPES)
def test_marginals_and_best_paths_are_those_of_all_sequences(
    steps: int, tags: int, lengths: list[int]
) -> None:
    chain, emissions = random_chain(tags), random_emissions(steps, len(lengths), tags)
    counts = torch.tensor(lengths)
    with torch.inference_mode():
        got, best = marginals(chain, emissions, counts), best_paths(chain, emissions, counts)
    for row, length in enumerate(lengths):
        assert not got[length:, row].any()
        assert not best[length:, row].any()
        if not length:
            continue
        paths, scores = all_paths(chain, emissions[:length, row])
        shares = scores.softmax(0)
        expected = torch.zeros(length, tags, dtype=torch.float64)
        for path, share in zip(paths, shares, strict=True):
            for step, tag in enumerate(path):
                expected[step, tag] += share
        assert_close(got[:length, row], expected, GRADIENTS)
        assert tuple(best[:length, row].tolist()) == paths[int(scores.argmax())]
        tags_ = best[:length, row, None]
        assert_close(
            path_score(chain, emissions[:length, row, None], tags_, counts[row, None]),
            scores.max()[None],
            TOTALS,
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_padding_and_other_rows_do_not_matter(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    crf = LinearChainCRF(7).to(dtype)
    lengths = torch.tensor([3, 9, 0, 5])
    emissions, tags = random_emissions(9, 4, 7).to(dtype), torch.randint(7, (9, 4))
    padding = torch.arange(9)[:, None] >= lengths
    together = crf(emissions, tags, lengths)
    emissions[padding] = 1e4
    tags[padding] = 0
    assert_close(crf(emissions, tags, lengths), together, TOTALS)
    for row, length in enumerate(lengths.tolist()):
        own = emissions[:length, row, None], tags[:length, row, None], lengths[row, None]
        assert_close(crf(*own), together[row, None], TOTALS)


def test_forbidden_moves_are_in_no_sum_and_on_no_path() -> None:
    chain = random_chain(3)
    allowed = Chain(
        torch.tensor([[1, 1, 0], [1, 0, 1], [1, 1, 1]]).bool(),
        torch.tensor([1, 0, 1]).bool(),
        torch.tensor([1, 1, 0]).bool(),
    )
    masked = chain.masked(allowed)
    emissions, lengths = random_emissions(4, 2, 3), torch.tensor([4, 2])
    assert_close(log_partition(masked, emissions, lengths), by_definition(masked, emissions, [4, 2]), TOTALS)
    for row, length in enumerate(lengths.tolist()):
        paths, scores = all_paths(masked, emissions[:length, row])
        best = best_paths(masked, emissions, lengths)[:length, row].tolist()
        assert tuple(best) == paths[int(scores.argmax())]
        assert (marginals(masked, emissions, lengths)[0, row, 1]) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("large", ["emissions", "transitions", "both"])
def test_extreme_scores_stay_finite(dtype: torch.dtype, large: str) -> None:
    torch.manual_seed(3)
    crf = LinearChainCRF(4).to(dtype)
    emissions = torch.randn(12, 3, 4, dtype=dtype)
    if large != "transitions":
        emissions = torch.where(torch.rand(12, 3, 4) < 0.5, 1e4, -1e4).to(dtype)
    if large != "emissions":
        with torch.no_grad():
            for score in crf.chain:
                score.copy_(torch.where(torch.rand(score.shape) < 0.5, 1e4, -1e4))
    emissions.requires_grad_()
    lengths = torch.tensor([12, 1, 7])
    losses = crf(emissions, torch.randint(4, (12, 3)), lengths)
    losses.sum().backward()
    for value in (losses, emissions.grad, crf.transitions.grad, marginals(crf.chain, emissions, lengths)):
        assert value is not None
        assert value.isfinite().all()


def test_extreme_emissions_are_exact() -> None:
    chain, emissions = random_chain(3), random_emissions(4, 2, 3, scale=1e4)
    lengths = torch.tensor([4, 3])
    assert_close(log_partition(chain, emissions, lengths), by_definition(chain, emissions, [4, 3]), TOTALS)


def test_it_learns_what_follows_what() -> None:
    torch.manual_seed(0)
    crf = LinearChainCRF(3)
    tags = torch.tensor([[0, 1, 2, 0, 1, 2, 0]]).T
    emissions, lengths = torch.zeros(7, 1, 3), torch.tensor([7])
    optimizer = torch.optim.Adam(crf.parameters(), lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        crf(emissions, tags, lengths).sum().backward()
        optimizer.step()
    assert torch.equal(best_paths(crf.chain, emissions, lengths), tags)
    assert crf(emissions, tags, lengths).item() < 1


def test_it_draws_no_random_numbers() -> None:
    crf, emissions = LinearChainCRF(11), torch.zeros(3, 1, 11)
    before = torch.get_rng_state()
    crf(emissions, torch.zeros(3, 1, dtype=torch.int64), torch.tensor([3]))
    assert torch.equal(torch.get_rng_state(), before)
