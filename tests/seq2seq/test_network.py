"""The encoder-decoder: training and decoding agree, padding never matters, searches agree with each other."""

from __future__ import annotations

import pytest
import torch

import gatework as gw
from gatework.seq2seq import EncoderDecoder, Ensemble, beam_search, generate
from tests.tolerances import close_to

DECODERS = ["bahdanau_gru", "bahdanau_lstm", "luong_lstm", "cho_gru", "lstm"]
SOURCES, TARGETS, END = 11, 9, 8


def network(decoder: str, **options) -> EncoderDecoder:
    torch.manual_seed(1)
    made = EncoderDecoder(
        gw.cells.get("lstm" if "lstm" in decoder else "gru"),
        gw.cells.get(decoder),
        source_vocabulary=SOURCES,
        target_vocabulary=TARGETS,
        embedding_size=6,
        hidden_size=8,
        **options,
    ).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2.5)
    return made.eval()


def batch():
    generator = torch.Generator().manual_seed(2)
    source = torch.randint(0, SOURCES, (7, 4), generator=generator)
    target = torch.randint(0, TARGETS, (6, 4), generator=generator)
    target[0] = END
    return source, torch.tensor([7, 1, 4, 5]), target, torch.tensor([5, 2, 1, 4])


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("decoder", DECODERS)
def test_the_loss_is_that_of_the_steps_one_by_one(decoder: str, layers: int) -> None:
    made = network(decoder, encoder_layers=layers, decoder_layers=layers)
    source, source_lengths, target, lengths = batch()
    with torch.no_grad():
        together = made(source, source_lengths, target, lengths)
        rows = -made.losses(source, source_lengths, target, lengths).sum(0)
        for row in range(4):
            state = made.start(source[: source_lengths[row], row : row + 1], source_lengths[row : row + 1])
            total = 0.0
            for step in range(int(lengths[row])):
                log_probs, state = made.step(target[step, row : row + 1], state)
                torch.testing.assert_close(log_probs.exp().sum(), torch.ones((), dtype=torch.float64))
                total += log_probs[0, target[step + 1, row]].item()
            assert rows[row].item() == close_to(total, torch.float64)
    assert together.item() == close_to(-rows.sum().item(), torch.float64)


@pytest.mark.parametrize("decoder", DECODERS)
def test_padding_reaches_neither_loss_nor_gradient(decoder: str) -> None:
    made = network(decoder)
    source, source_lengths, target, lengths = batch()
    found = []
    for noise in (0, 5):
        other_source, other_target = source.clone(), target.clone()
        for row in range(4):
            other_source[source_lengths[row] :, row] = noise
            other_target[lengths[row] + 1 :, row] = noise
        loss = made(other_source, source_lengths, other_target, lengths)
        found.append([loss.detach(), *torch.autograd.grad(loss, list(made.parameters()))])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("decoder", DECODERS)
def test_batched_search_is_one_sentence_at_a_time(decoder: str) -> None:
    made = network(decoder, decoder_layers=2)
    source, lengths, _, _ = batch()
    start = torch.full((4,), END)

    def search(source, lengths, tokens, **options):
        return beam_search(made, tokens, made.start(source, lengths), length=9, beam=3, ends={END}, **options)

    with torch.inference_mode():
        together = search(source, lengths, start, alternatives=3, length_penalty=0.7)
        for row in range(4):
            one = source[: lengths[row], row : row + 1]
            (alone,) = search(one, lengths[row : row + 1], start[:1], alternatives=3, length_penalty=0.7)
            assert [h.tokens for h in alone] == [h.tokens for h in together[row]]
            for a, b in zip(alone, together[row], strict=True):
                assert a.score == close_to(b.score, torch.float64)


def test_alignments_come_with_the_hypotheses() -> None:
    made = network("bahdanau_gru")
    source, lengths, _, _ = batch()

    class Aligned:
        step = staticmethod(made.step_with_alignment)
        reorder = staticmethod(made.reorder)

    with torch.inference_mode():
        state = made.start(source, lengths)
        found = beam_search(
            Aligned, torch.full((4,), END), state, length=6, beam=3, ends={END}, alternatives=3, coverage_penalty=0.2,
            alignment=lambda state: state.alignment,
        )  # fmt: skip
    for row, hypotheses in enumerate(found):
        for h in hypotheses:
            assert h.alignment.shape == (len(h.tokens), 7)
            torch.testing.assert_close(h.alignment.sum(1), torch.ones(len(h.tokens), dtype=torch.float64))
            assert (h.alignment[:, lengths[row] :] == 0).all()
            covered = h.alignment.sum(0)[: lengths[row]].clamp(max=1.0)
            penalty = 0.2 * covered.log().sum().item()
            assert h.score == close_to(h.log_probability + penalty, torch.float64)


def test_an_ensemble_is_the_mean_of_the_probabilities() -> None:
    made = [network("bahdanau_gru"), network("bahdanau_gru")]
    with torch.no_grad():
        made[1].readout.weight.neg_()
    source, lengths, _, _ = batch()
    tokens = torch.full((4,), END)
    with torch.inference_mode():
        states = tuple(each.start(source, lengths) for each in made)
        log_probs, _ = Ensemble(made).step(tokens, states)
        parts = [each.step(tokens, state)[0].exp() for each, state in zip(made, states, strict=True)]
    torch.testing.assert_close(log_probs.exp(), (parts[0] + parts[1]) / 2)
    with pytest.raises(ValueError, match="at least one"):
        Ensemble([])


def test_minimum_and_no_repeat_hold() -> None:
    made = network("lstm")
    source, lengths, _, _ = batch()
    tokens = torch.full((4,), END)
    with torch.inference_mode():
        state = made.start(source, lengths)
        (hypotheses, *_) = beam_search(
            made, tokens, state, length=12, beam=4, ends={END}, minimum=5, no_repeat=2, alternatives=4
        )
        for h in hypotheses:
            assert len(h.tokens) > 5
            pairs = list(zip(h.tokens, h.tokens[1:], strict=False))
            assert len(pairs) == len(set(pairs))
        drawn = [[] for _ in range(4)]
        for choice in generate(
            made, tokens, state, length=12, ends={END}, minimum=5, no_repeat=1, temperature=1.0
        ):
            for row, token in zip(choice.rows, choice.tokens, strict=True):
                drawn[row].append(token)
        for path in drawn:
            assert len(path) > 5 or len(set(path)) == TARGETS - 1
            assert len(set(path)) == len(path)


def test_scheduled_sampling_reads_its_own_guesses() -> None:
    made = network("bahdanau_gru")
    source, source_lengths, target, lengths = batch()
    torch.manual_seed(0)
    plain = made(source, source_lengths, target, lengths)
    assert made(source, source_lengths, target, lengths, 0.0).item() == plain.item()
    sampled = made(source, source_lengths, target, lengths, 0.9)
    assert sampled.item() != plain.item()
    sampled.backward()
    assert made.readout.weight.grad.abs().sum() > 0


def test_label_smoothing_is_torchs_and_only_for_training() -> None:
    made = network("bahdanau_gru", label_smoothing=0.2)
    plain = network("bahdanau_gru")
    given = batch()
    assert made(*given).item() == plain(*given).item()
    source, source_lengths, target, lengths = given
    spread = 0.0  # minus the mean log-probability of the vocabulary, summed over the steps that have a target
    with torch.no_grad():
        state = plain.start(source, source_lengths)
        for step in range(len(target) - 1):
            log_probs, state = plain.step(target[step], state)
            spread -= log_probs.mean(1)[lengths > step].sum().item()
    expected = 0.8 * plain(*given) + 0.2 * spread
    assert made.train()(*given).item() == close_to(expected.item(), torch.float64)


def test_cells_that_cannot_take_the_part_are_refused() -> None:
    @gw.cell
    def two(x, h, left: gw.Memory, right: gw.Memory):
        return gw.tanh(gw.linear("a", x, h, l=gw.attend("l", h, left), r=gw.attend("r", h, right)))

    sizes = {"source_vocabulary": 5, "target_vocabulary": 5, "embedding_size": 4, "hidden_size": 4}
    with pytest.raises(ValueError, match="left, right"):
        EncoderDecoder(gw.gru, two, **sizes)
    with pytest.raises(ValueError, match=r"encoder's cell bahdanau_gru takes further inputs \(memory\)"):
        EncoderDecoder(gw.bahdanau_gru, gw.bahdanau_gru, **sizes)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_memory_as_wide_as_the_hidden_size_must_fit(bidirectional: bool) -> None:
    @gw.cell
    def dotted(x, h, memory: gw.Memory(size="hidden_size")):
        return gw.tanh(gw.linear("a", x, h, c=gw.attend("source", h, memory, score="dot")))

    sizes = {"source_vocabulary": 5, "target_vocabulary": 5, "embedding_size": 4, "hidden_size": 8}
    if bidirectional:
        with pytest.raises(ValueError, match="memory of 8 features, and the encoder's outputs have 16"):
            EncoderDecoder(gw.gru, dotted, bidirectional=True, **sizes)
        return
    made = EncoderDecoder(gw.gru, dotted, bidirectional=False, **sizes)
    assert made.decoder.hidden_size == made.decoder.output_size == 8
    source, source_lengths, target, lengths = batch()
    loss = made(source % 5, source_lengths, target % 5, lengths)
    assert loss.isfinite()


def test_a_fixed_vector_has_the_size_that_its_cell_says() -> None:
    @gw.cell
    def fixed(x, h, context: gw.Static(size=5)):
        return gw.tanh(gw.linear("a", x, h, c=context))

    sizes = {"source_vocabulary": 5, "target_vocabulary": 5, "embedding_size": 4, "hidden_size": 8}
    made = EncoderDecoder(gw.gru, fixed, **sizes)
    source, source_lengths, target, lengths = batch()
    assert made(source % 5, source_lengths, target % 5, lengths).isfinite()
