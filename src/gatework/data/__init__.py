"""Files to examples to batches. Knows no task; each error names the file and the row."""

from .length_batches import length_batches
from .pairs import Pair, read_pairs
from .tables import Row, Source, locate_rows, read_rows
from .text import read_texts
from .token_stream import LaneBatches, TokenStream
from .tokenizers import Decoder, Tokenizer

__all__ = [
    "Decoder",
    "LaneBatches",
    "Pair",
    "Row",
    "Source",
    "TokenStream",
    "Tokenizer",
    "length_batches",
    "locate_rows",
    "read_pairs",
    "read_rows",
    "read_texts",
]
