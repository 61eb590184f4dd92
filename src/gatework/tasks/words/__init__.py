"""What the tasks on words share: a vocabulary of words and characters, batches of tokens, and their encoder."""

from gatework.tasks.words.batch import TokenBatch, collate_tokens
from gatework.tasks.words.token_encoder import TokenEncoder
from gatework.tasks.words.vocabulary import WordVocabulary

__all__ = ["TokenBatch", "TokenEncoder", "WordVocabulary", "collate_tokens"]
