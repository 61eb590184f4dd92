"""Files to examples to batches. Knows no task; each error names the file and the row."""

from .tables import Row, Source, locate_rows, read_rows
from .text import read_texts
from .token_stream import LaneBatches, TokenStream
from .tokenizers import Decoder, Tokenizer

__all__ = [
    "Decoder",
    "LaneBatches",
    "Row",
    "Source",
    "TokenStream",
    "Tokenizer",
    "locate_rows",
    "read_rows",
    "read_texts",
]
