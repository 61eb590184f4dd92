"""The file of a machine's own cost table: what it holds, how it is checked, and how it is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gatework.backends.llvm.codegen import target as engine_target
from gatework.backends.llvm.runtime.native import cache_folders, write_whole
from gatework.backends.processor import table_name
from gatework.errors import InputError

_Size = Annotated[int, Field(gt=0)]
_Ratio = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Rows = Annotated[tuple[tuple[_Size, _Size, _Ratio, _Ratio], ...], Field(min_length=1)]


class Ratios(BaseModel):
    """Of each kind of operator, rows of B, H, and torch's time over the engine's: forward, and training."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    lstm: _Rows
    gru: _Rows
    rnn: _Rows


class TunedTable(BaseModel):
    """A cost table that `gatework bench tune` has measured.

    Attributes:
        version: of the Gatework that was measured.
        isa: instruction set of the engine's code, and of torch's.
        processor, features: of the machine.
        threads: that shared the work.
        ratios: by kind of operator and shape.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    version: str
    isa: str
    processor: dict[str, str | None]
    features: list[str]
    threads: _Size
    ratios: Ratios

    @classmethod
    def read(cls, text: bytes, identity: Mapping[str, Any]) -> TunedTable:
        """A table from its file.

        Args:
            identity: what it must have been measured for, see `processor.identity`.

        Raises:
            ValueError: it is damaged, or of another version or machine: the message says which.
        """
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise ValueError(f"it is damaged ({error})") from None
        found = fields.get("version") if isinstance(fields, dict) else None
        if isinstance(found, str) and found != identity["version"]:
            raise ValueError(f"it is of Gatework {found}, and this is {identity['version']}")
        try:
            table = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"it is damaged ({where}: {first['msg']})") from None
        for name, value in identity.items():
            if getattr(table, name) != value:
                raise ValueError(f"it was measured on another machine (its {name} differ)")
        return table

    def rows(self) -> dict[str, tuple[tuple[int, int, float, float], ...]]:
        """The ratios as `costs` reads them."""
        return dict(self.ratios)

    def keep(self) -> Path:
        """Writes the table where `auto` looks for it, whole: of two processes that tune at once the later one's stays.

        Raises:
            InputError: no folder for it can be written.
        """
        name = table_name(engine_target.host())
        text = self.model_dump_json(indent=1) + "\n"
        folders = cache_folders()
        for folder in folders:
            if write_whole(folder / name, text.encode()):
                return folder / name
        where = ", ".join(map(str, folders)) or "the user's cache folder"
        raise InputError(where, "the cost table cannot be written there", "Name a folder in GATEWORK_CACHE.")
