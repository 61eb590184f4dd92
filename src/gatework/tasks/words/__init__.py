"""What the tasks on words share: a vocabulary of words and characters, batches of tokens, their
encoder, and the linear model of hashed features beside it."""

from gatework.tasks.words.batch import TokenBatch, collate_tokens
from gatework.tasks.words.side_path import SidePath
from gatework.tasks.words.token_encoder import TokenEncoder
from gatework.tasks.words.vocabulary import WordVocabulary
from gatework.tasks.words.word_inputs import WordInputs

__all__ = ["SidePath", "TokenBatch", "TokenEncoder", "WordInputs", "WordVocabulary", "collate_tokens"]
