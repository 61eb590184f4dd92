from __future__ import annotations

import itertools

import pytest
import torch

import gatework as gw
from gatework.seq2seq import beam_search, generate
from gatework.seq2seq.network import EncoderDecoder
from gatework.seq2seq.search import length_divisor
from tests.tolerances import close_to, of_draws

VOCABULARY = 4
END = 3
STEPS = 30


class Toy:
    """A decoder whose next token depends on the last two and on the step, so that no two outputs tie."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        shape = (STEPS, VOCABULARY, VOCABULARY, VOCABULARY)
        self.table = torch.randn(shape, generator=generator, dtype=torch.float64).log_softmax(-1)
        self.row_counts: list[int] = []

    def step(self, tokens, state):
        self.row_counts.append(len(tokens))
        step, before = state[:, 0], state[:, 1]
        return self.table[step, before, tokens], torch.stack([step + 1, tokens], dim=1)

    def reorder(self, state, index):
        return state[index]

    def log_probability(self, first, path):
        total, before, last = 0.0, 0, first
        for step, token in enumerate(path):
            total += self.table[step, before, last, token].item()
            before, last = last, token
        return total

    def start(self, *tokens):
        return torch.tensor(tokens), torch.zeros(len(tokens), 2, dtype=torch.long)


def complete_paths(length):
    """Every output: it ends with END, or has the full length without one."""
    for size in range(1, length + 1):
        for path in itertools.product(range(VOCABULARY), repeat=size):
            if END not in path[:-1] and (path[-1] == END or size == length):
                yield path


def rows_of(choices, count):
    paths = [[] for _ in range(count)]
    for choice in choices:
        for row, token in zip(choice.rows, choice.tokens, strict=True):
            paths[row].append(token)
    return [tuple(path) for path in paths]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("alpha", [0.0, 0.7, 2.0])
def test_full_width_beam_is_exhaustive_search(seed, alpha):
    toy, length = Toy(seed), 4
    everything = list(complete_paths(length))
    tokens, state = toy.start(0, 1, 2)
    found = beam_search(
        toy, tokens, state, length=length, beam=len(everything), ends={END},
        alternatives=len(everything), length_penalty=alpha,
    )  # fmt: skip
    for first, hypotheses in zip(tokens.tolist(), found, strict=True):
        scores = {p: toy.log_probability(first, p) / length_divisor(len(p), alpha) for p in everything}
        expected = sorted(everything, key=lambda path: -scores[path])
        assert [h.tokens for h in hypotheses] == expected
        for h in hypotheses:
            assert h.log_probability == close_to(toy.log_probability(first, h.tokens), torch.float64)
            assert h.score == close_to(scores[h.tokens], torch.float64)


@pytest.mark.parametrize("seed", range(5))
def test_beam_of_one_is_greedy(seed):
    toy = Toy(seed)
    tokens, state = toy.start(0, 1, 2, 0)
    greedy = rows_of(generate(toy, tokens, state, length=6, ends={END}), 4)
    beams = beam_search(toy, tokens, state, length=6, beam=1, ends={END})
    assert [hypotheses[0].tokens for hypotheses in beams] == greedy
    assert any(END in path for path in greedy) or seed != 0


def test_wider_beam_is_never_worse_here_and_rows_do_not_meet():
    toy = Toy(3)
    tokens, state = toy.start(0, 1, 2)
    together = beam_search(toy, tokens, state, length=5, beam=3, ends={END}, alternatives=3)
    for first, hypotheses in zip(tokens.tolist(), together, strict=True):
        alone = beam_search(toy, *toy.start(first), length=5, beam=3, ends={END}, alternatives=3)
        assert alone[0] == hypotheses
        narrow = beam_search(toy, *toy.start(first), length=5, beam=1, ends={END})
        assert hypotheses[0].log_probability >= narrow[0][0].log_probability


def test_finished_rows_drop_out():
    toy = Toy()
    toy.table[:, :, 1, :] = -torch.inf
    toy.table[:, :, 1, END] = 0.0  # a row that has read 1 ends at once
    toy.table[:, :, 0, :] = -torch.inf
    toy.table[:, :, 0, 0] = 0.0  # a row that has read 0 never ends
    tokens, state = toy.start(1, 0)
    choices = list(generate(toy, tokens, state, length=3, ends={END}))
    assert toy.row_counts == [2, 1, 1]
    assert rows_of(choices, 2) == [(END,), (0, 0, 0)]
    toy.row_counts.clear()
    beam_search(toy, tokens, state, length=3, beam=1, ends={END})
    assert toy.row_counts == [2, 1, 1]


def test_every_row_has_its_own_longest_output():
    toy = Toy()
    toy.table[..., END] = -torch.inf  # nothing ever ends by itself
    tokens, state = toy.start(0, 1, 2)
    limits = [3, 1, 2]
    drawn = rows_of(generate(toy, tokens, state, length=limits, ends={END}), 3)
    assert [len(path) for path in drawn] == limits
    found = beam_search(toy, tokens, state, length=limits, beam=2, ends={END}, alternatives=2)
    for limit, hypotheses in zip(limits, found, strict=True):
        assert [len(h.tokens) for h in hypotheses] == [limit] * 2
    for row, first in enumerate(tokens.tolist()):
        (alone,) = beam_search(toy, *toy.start(first), length=limits[row], beam=2, ends={END}, alternatives=2)
        assert alone == found[row]


@pytest.mark.parametrize("length", [[3], [3, 0], 0])
def test_a_longest_output_is_refused_where_it_is_none(length):
    toy = Toy()
    tokens, state = toy.start(0, 1)
    with pytest.raises(ValueError, match="length="):
        beam_search(toy, tokens, state, length=length, beam=2)
    with pytest.raises(ValueError, match="length="):
        list(generate(toy, tokens, state, length=length))


def test_sampling_follows_the_distribution():
    toy, count = Toy(1), 4000
    tokens, state = toy.start(*[2] * count)
    (choice,) = generate(toy, tokens, state, length=1, temperature=1.0)
    shares = torch.bincount(torch.tensor(choice.tokens), minlength=VOCABULARY) / count
    torch.testing.assert_close(shares.double(), toy.table[0, 0, 2].exp(), atol=of_draws(count), rtol=0)
    (cold,) = generate(toy, *toy.start(*[2] * count), length=1, temperature=0.5)
    shares = torch.bincount(torch.tensor(cold.tokens), minlength=VOCABULARY) / count
    torch.testing.assert_close(
        shares.double(), (2 * toy.table[0, 0, 2]).softmax(0), atol=of_draws(count), rtol=0
    )


@pytest.mark.parametrize(("top_k", "top_p"), [(1, 1.0), (2, 1.0), (0, 1e-9), (0, 0.7), (3, 0.7)])
def test_top_k_and_top_p_keep_the_likeliest(top_k, top_p):
    toy, count = Toy(2), 500
    probabilities = toy.table[0, 0, 1].exp()
    order = probabilities.argsort(descending=True).tolist()
    kept, mass = set(), 0.0
    for token in order[: top_k or VOCABULARY]:
        if mass >= top_p * (probabilities[order[: top_k or VOCABULARY]].sum().item()):
            break
        kept.add(token)
        mass += probabilities[token].item()
    tokens, state = toy.start(*[1] * count)
    (choice,) = generate(toy, tokens, state, length=1, temperature=1.0, top_k=top_k, top_p=top_p)
    assert set(choice.tokens) == kept


def test_a_seed_repeats_and_another_differs():
    toy = Toy(4)

    def draw(seed, *first):
        tokens, state = toy.start(*first)
        return rows_of(generate(toy, tokens, state, length=20, temperature=1.0, seed=seed), len(first))

    assert draw(7, 0, 1) == draw(7, 0, 1)
    assert draw(7, 0, 1) != draw(8, 0, 1)
    assert draw(7, 0, 1)[0] == draw(7, 0)[0]  # the rest of the batch never matters


def test_banned_tokens_are_never_drawn():
    toy = Toy(5)
    tokens, state = toy.start(0, 1, 2)
    for options in ({}, {"temperature": 1.0}):
        for path in rows_of(generate(toy, tokens, state, length=30, banned={0, 2}, **options), 3):
            assert set(path) <= {1, 3}
    for hypotheses in beam_search(toy, tokens, state, length=5, beam=4, banned={0, 2}, alternatives=4):
        assert all(set(h.tokens) <= {1, 3} for h in hypotheses)


def test_more_alternatives_than_beam_is_refused():
    toy = Toy()
    with pytest.raises(ValueError, match="alternatives is between 1 and beam = 2, received 3"):
        beam_search(toy, *toy.start(0), length=2, beam=2, alternatives=3)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_callers_mode_is_its_own_between_the_steps(temperature):
    toy = Toy()
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for step, _ in enumerate(generate(toy, *toy.start(0, 1), length=3, temperature=temperature), start=1):
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        (weight * torch.ones(2)).sum().backward()
        optimizer.step()
        assert weight[0].item() == pytest.approx(1 - 0.1 * step)
    with torch.no_grad():
        for _ in generate(toy, *toy.start(0), length=2, temperature=temperature):
            assert not torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("beam", [1, 2, 3, 7])
def test_a_beam_that_the_rules_leave_no_token_gives_what_it_has(beam):
    toy = Toy(6)  # of 4 words, the fourth the end, three may come before 8 tokens, and each once
    rules = {"length": 12, "ends": {END}, "minimum": 8, "no_repeat": 1}
    found = beam_search(toy, *toy.start(0, 1, 2), beam=beam, alternatives=beam, **rules)
    for first, hypotheses in enumerate(found):
        assert len(hypotheses) == min(beam, 6) or beam < 7
        assert hypotheses
        for h in hypotheses:
            assert sorted(h.tokens) == [0, 1, 2]
            assert h.log_probability == close_to(toy.log_probability(first, h.tokens), torch.float64)
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True)
    if beam == 7:  # every order of the three words
        best = max(itertools.permutations(range(3)), key=lambda path: toy.log_probability(0, path))
        assert found[0][0].tokens == best


def test_hypotheses_that_ended_come_before_abandoned_ones():
    toy = Toy()
    toy.table[1, 0, 0] = -torch.inf  # nothing follows 0, which is the likeliest first word
    toy.table[0, 0, 0] = torch.tensor([-0.1, -3.0, -torch.inf, -torch.inf])
    toy.table[1, 0, 1] = torch.tensor([-torch.inf, -torch.inf, -torch.inf, -1.0])
    toy.table[1, 0, 0] = -torch.inf
    one, two = beam_search(toy, *toy.start(0), length=5, beam=2, ends={END}, alternatives=2)[0]
    assert (one.tokens, two.tokens) == ((1, END), (0,))
    assert two.score > one.score


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_that_the_rules_leave_no_token_ends(temperature):
    toy = Toy(7)
    options = {"length": 12, "ends": {END}, "temperature": temperature}
    choices = generate(toy, *toy.start(0, 1, 2), minimum=8, no_repeat=1, **options)
    for path in rows_of(choices, 3):
        assert sorted(path) == [0, 1, 2]
    # Another row goes on; where nothing is allowed at all, nothing is drawn.
    toy.table[2, :, :, :] = -torch.inf
    toy.table[2, 0, 1, 1] = 0.0
    drawn = rows_of(generate(toy, *toy.start(0, 1), length=3, banned=(), temperature=temperature), 2)
    assert {len(path) for path in drawn} <= {2, 3}
    assert list(generate(toy, *toy.start(0, 1), banned=set(range(4)), **options)) == []
    assert beam_search(toy, *toy.start(0), length=3, beam=2, banned=set(range(4)))[0][0].tokens == ()


def test_a_coverage_penalty_without_attention_is_refused():
    toy = Toy()
    with pytest.raises(ValueError, match=r"coverage_penalty=0\.2 needs attention weights"):
        beam_search(toy, *toy.start(0), length=2, beam=2, coverage_penalty=0.2)


@pytest.mark.parametrize("attends", [False, True])
@pytest.mark.parametrize(
    "options", [{"beam": 3}, {"beam": 2, "no_repeat": 2}, {}, {"temperature": 1.0, "top_k": 2}]
)
def test_a_model_whose_weights_are_no_numbers_is_refused(attends, options):
    encoder, decoder = gw.cells.get("gru"), gw.cells.get("bahdanau_gru" if attends else "cho_gru")
    sizes = {"source_vocabulary": 9, "target_vocabulary": 9, "embedding_size": 8, "hidden_size": 8}
    network = EncoderDecoder(encoder, decoder, **sizes).eval()
    with torch.no_grad():
        network.softmax.weight[4, 2] = torch.nan
    with torch.inference_mode():
        state = network.start(torch.randint(3, 9, (5, 2)), torch.tensor([5, 5]))
        search = beam_search if "beam" in options else generate
        with pytest.raises(gw.InputError, match="no numbers"):
            list(search(network, torch.tensor([1, 1]), state, length=6, **options))
