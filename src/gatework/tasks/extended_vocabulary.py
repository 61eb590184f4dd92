"""A run that starts from another one with a larger vocabulary: the rows of known tokens, and new ones for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from gatework.data import Tokenizer
from gatework.errors import InputError
from gatework.tasks.artifacts import Artifacts
from gatework.tasks.tokens import TokenOptions, train_tokenizer

__all__ = ["ExtensionOptions", "learned_tokenizer", "take_known_rows"]


class ExtensionOptions(TokenOptions):
    """Whether a vocabulary may grow."""

    extend_vocabulary: bool = Field(
        False,
        description="with --from: tokens of the new data that the run's vocabulary lacks are added to it (characters "
        "and words; vocabulary_size and min_frequency are of the new data)",
    )


def learned_tokenizer(
    keep: Artifacts,
    file: str,
    options: ExtensionOptions,
    texts: Callable[[], Iterable[str]],
    say: Callable[[str], None],
) -> Tokenizer:
    """The tokenizer of a run: a new one of its training data, or that of the run that it starts from, extended where
    the options ask for it.

    Args:
        file: where the run keeps it.
        texts: the training data.
        say: is told how many tokens are new.

    Raises:
        InputError: there is nothing to extend.
    """

    def make() -> Tokenizer:
        if options.extend_vocabulary:
            what = "is for a run that starts from another one"
            raise InputError("option extend_vocabulary", what, "Give from_run=RUN, or leave the option out.")
        return train_tokenizer(options, texts())

    def extend(known: Tokenizer) -> Tokenizer:
        if known.kind == "bpe":
            what = "is given, and byte pairs know every text"
            raise InputError("option extend_vocabulary", what, "Leave it out.")
        found = train_tokenizer(options, texts())
        tokens = map(found.token, range(found.vocabulary_size))
        new = [token for token in tokens if known.id(token) is None]
        say(f"{len(new):,} tokens of {file} are new, {known.vocabulary_size:,} keep their rows.")
        return known.extended(new)

    return keep.get(file, Tokenizer, make, extend if options.extend_vocabulary else None)


def take_known_rows(network: nn.Module, parent: Mapping[str, Tensor], last: int = 0) -> None:
    """Start a network with the weights of one whose vocabularies are the first part of its own.

    A matrix with more rows than the parent's keeps its own random rows for the new tokens, in the size of the known
    ones; a vector's new entries are the least of the known ones, so that new tokens begin as the unlikeliest.

    Args:
        parent: the other network's state dict.
        last: rows that stand behind the tokens in every vocabulary, and stay there.
    """
    own = network.state_dict()
    with torch.no_grad():
        for name, value in parent.items():
            target = own[name]
            if target.shape == value.shape:
                target.copy_(value)
                continue
            known = len(value) - last
            new = target[known : len(target) - last]
            if value.dim() > 1:
                new.mul_(value.std() / target.std().clamp_min(1e-6))
            else:
                new.fill_(value.min())
            target[:known] = value[:known]
            target[len(target) - last :] = value[known:]
