"""The encoder of tokens: shapes, padding, unseen words, replaced words, characters encoded once."""

from __future__ import annotations

import json
import zlib

import pytest
import torch

from gatework.cells import get
from gatework.tasks.words import TokenBatch, TokenEncoder, WordVocabulary, collate_tokens
from gatework.tasks.words.vocabulary import UNKNOWN, subwords
from tests.tolerances import assert_close, of_draws

SENTENCES = [["play", "some", "jazz"], ["Jazz", "!"], [], ["play", "Jazz"]]
VOCABULARY = WordVocabulary.learn(SENTENCES, lowercase=True)


def batch_of(*sentences: list[str], subword_rows: int = 0) -> TokenBatch:
    return collate_tokens([VOCABULARY.encode(sentence, subword_rows) for sentence in sentences])


def encoder(**options: object) -> TokenEncoder:
    torch.manual_seed(1)
    sizes = {"embedding_size": 5, "hidden_size": 4, "character_size": 6} | options
    counts, characters = VOCABULARY.counts, VOCABULARY.character_count
    return TokenEncoder(get("gru"), counts=counts, character_count=characters, **sizes).eval()  # type: ignore[arg-type]


def test_vocabulary_counts_and_encodes() -> None:
    assert VOCABULARY.words[0] == "jazz"
    assert dict(zip(VOCABULARY.words, VOCABULARY.counts, strict=True)) == {
        "jazz": 3,
        "play": 2,
        "some": 1,
        "!": 1,
    }
    fields = VOCABULARY.encode(["JAZZ", "blues", ""])
    assert fields["words"].tolist() == [1, UNKNOWN, UNKNOWN]
    assert fields["word_lengths"].tolist() == [4, 5, 0]
    assert fields["characters"][0] == VOCABULARY.character_ids("J")[0] != UNKNOWN
    assert WordVocabulary.from_json(VOCABULARY.to_json()) == VOCABULARY
    rare = WordVocabulary.learn(SENTENCES, lowercase=True, min_frequency=2)
    assert rare.words == ("jazz", "play")
    assert WordVocabulary.learn(SENTENCES, vocabulary_size=1).size == 2


def test_vocabulary_refuses_a_strangers_file() -> None:
    for damage in ({"counts": [1]}, {"words": ["jazz", "jazz", "a", "b"]}, {"counts": [-1, 1, 1, 1]}):
        text = json.dumps(VOCABULARY.model_dump() | damage)
        with pytest.raises(ValueError, match=r"word|count"):
            WordVocabulary.from_json(text)


def test_a_very_long_word_is_read_at_its_ends() -> None:
    fields = VOCABULARY.encode(["z" + "a" * 10_000 + "y"])
    assert len(fields["characters"]) == 64
    assert fields["characters"][[0, -1]].tolist() == VOCABULARY.character_ids("zy")


def test_equal_spellings_are_encoded_once() -> None:
    batch = batch_of(["play", "jazz", "play"], ["jazz", "Jazz"])
    assert batch.characters.shape == (4, 3)
    assert batch.spellings[:, 0].tolist() == [0, 1, 0]
    assert batch.spellings[:2, 1].tolist() == [1, 2]


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": False}, {"character_size": 0}])
def test_padding_and_other_rows_do_not_matter(options: dict[str, object]) -> None:
    network = encoder(**options)
    together = network(batch_of(*SENTENCES))
    assert together.shape == (3, 4, network.output_size)
    for column, sentence in enumerate(SENTENCES):
        alone = network(batch_of(sentence))[:, 0]
        assert_close(together[: len(sentence), column], alone)
        assert not together[len(sentence) :, column].any()


def test_unseen_words_are_told_apart_by_their_characters() -> None:
    known, unknown = batch_of(["aza", "zaz"]), batch_of(["aza", "aza"])
    assert known.words.tolist() == unknown.words.tolist() == [[UNKNOWN], [UNKNOWN]]
    network, blind = encoder(), encoder(character_size=0)
    assert not torch.equal(network(known), network(unknown))
    assert torch.equal(blind(known), blind(unknown))


def test_pieces_of_a_word_by_hand() -> None:
    rows = 1 << 14
    pieces = {"<ja", "jaz", "azz", "zz>", "<jaz", "jazz", "azz>", "<jazz", "jazz>"}
    assert subwords("jazz", rows) == tuple(sorted({zlib.crc32(piece.encode()) % rows for piece in pieces}))
    assert len(subwords("", rows)) == 1
    assert len(subwords("x" * 100_000, rows)) < 20
    fields = VOCABULARY.encode(["jazz", "!"], rows)
    assert fields["subword_counts"].tolist() == [9, 1]
    assert tuple(fields["subwords"][:9]) == subwords("jazz", rows)


def test_pieces_are_added_to_a_words_row() -> None:
    """The mean of the rows of its pieces; words of unknown characters are told apart, whoever stands beside them."""
    rows = 1 << 14
    network = encoder(subword_rows=rows, character_size=0)
    words = ["play", "東", "京", "play", "zaz"]
    batch = batch_of(words, subword_rows=rows)
    assert network.subwords is not None
    for place, word in enumerate(words):
        mean = network.subwords.weight[list(subwords(word, rows))].mean(0)
        expected = network.embedding.weight[VOCABULARY.word_id(word)] + mean
        assert_close(network.inputs(batch)[place, 0], expected)
    together = network(batch_of(words, ["京"], subword_rows=rows))
    assert_close(together[:1, 1], network(batch_of(["京"], subword_rows=rows))[:, 0])


def test_rare_words_are_replaced_in_training_alone() -> None:
    network = encoder(word_dropout=1.0, character_size=0)
    batch = batch_of(["jazz", "some"] * 500)
    unknown = network.embedding.weight[UNKNOWN]
    assert not (network.inputs(batch) == unknown).all(-1).any()
    replaced = (network.train().inputs(batch) == unknown).all(-1)[:, 0]
    assert replaced[::2].float().mean().item() == pytest.approx(
        1 / 4, abs=of_draws(500)
    )  # a / (a + n), n = 3
    assert replaced[1::2].float().mean().item() == pytest.approx(1 / 2, abs=of_draws(500))  # n = 1


def test_one_mask_a_sentence() -> None:
    inputs = encoder(dropout=0.5, character_size=0).train().inputs(batch_of(["jazz", "some", "play"]))
    assert torch.equal((inputs == 0).all(0), (inputs == 0).any(0))
    assert (inputs == 0).any()


def test_wrong_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="even number"):
        encoder(character_size=5)
    with pytest.raises(ValueError, match="beside x"):
        TokenEncoder(get("bahdanau_gru"), counts=[1], character_count=2, embedding_size=2, hidden_size=2)
