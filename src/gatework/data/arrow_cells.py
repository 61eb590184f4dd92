"""Arrow arrays, which have several types for the same, with one type for each."""

from __future__ import annotations

from typing import Any

__all__ = ["plain_array"]


def plain_array(cells: Any) -> Any:
    """Cells as one Arrow array whose texts are of type `string`: without chunks, dictionaries, views (polars' texts are
    views) and large offsets.
    """
    import pyarrow
    from pyarrow import types

    if isinstance(cells, pyarrow.ChunkedArray):
        cells = cells.combine_chunks()
    if types.is_dictionary(cells.type):
        values = plain_array(cells.dictionary)
        cells = pyarrow.DictionaryArray.from_arrays(cells.indices, values).dictionary_decode()
    if types.is_large_string(cells.type) or types.is_string_view(cells.type):
        cells = cells.cast(pyarrow.string())
    return cells
