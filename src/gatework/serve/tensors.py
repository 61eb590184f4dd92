"""Tensors of the Open Inference Protocol, as JSON and in the binary extension, and what each task makes of them."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gatework.serve.options import ServiceOptions
from gatework.serve.refusals import BadRequest, TooLarge
from gatework.serve.requests import read_json
from gatework.tasks.base import Task

__all__ = ["Form", "Tensor", "forms_of", "output_tensors", "packed_bytes", "read_tensor"]

_TYPES = {
    "BOOL": "?",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_NUMBERS = tuple(name for name in _TYPES if name != "BOOL")


class Tensor(NamedTuple):
    """A tensor by its name in a request or an answer. Of BYTES the elements are texts or bytes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Any  # a list for BYTES, else an array of `shape`


class Form(NamedTuple):
    """A way in which a task's inputs are tensors, of whose first dimension N each element is an input's.

    Attributes:
        tensors: name, datatype and shape of each; -1 is any size.
        input: an input as JSON, of the element of each tensor, in their order.
    """

    tensors: Sequence[tuple[str, str, tuple[int, ...]]]
    input: Callable[..., Any]

    @property
    def names(self) -> frozenset[str]:
        """Of its tensors."""
        return frozenset(name for name, _, _ in self.tensors)


def _text(value: str | bytes) -> str:
    if isinstance(value, str):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"a text is not UTF-8 ({error})") from None


def _numbers(value: Any) -> Any:
    """Numbers as JSON has them: a missing one, NaN, is null."""
    if isinstance(value, list):
        return [_numbers(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _read_json(value: str | bytes) -> Any:
    return read_json(_text(value).encode("utf-8", "surrogatepass"))


def forms_of(kind: type[Task]) -> list[Form]:
    """The forms of a task's inputs: `json`, the JSON of an input, is one of every task."""
    schema = (kind.SentInput or kind.Input).model_json_schema()
    parts = schema.get("anyOf", [schema])
    found: list[Form] = []
    types = [part.get("type") for part in parts]
    if "string" in types:
        found.append(Form((("text", "BYTES", (-1,)),), _text))
    required = schema.get("required", ())
    if required:
        tensors = tuple((name, "BYTES", (-1,)) for name in required)
        found.append(Form(tensors, lambda *values: dict(zip(required, map(_text, values), strict=True))))
    if any(part.get("type") == "array" and _holds_numbers(part) for part in parts):
        found.append(Form((("sequence", "FP64", (-1, -1)),), lambda row: _numbers(row.tolist())))
    if {"array", "sampling_rate"} <= schema.get("properties", {}).keys():
        sound = (("audio", "FP32", (-1, -1)), ("sampling_rate", "INT32", (-1,)))
        found.append(Form(sound, lambda row, rate: {"array": row.tolist(), "sampling_rate": int(rate)}))
    found.append(Form((("json", "BYTES", (-1,)),), _read_json))
    return found


def _holds_numbers(part: Mapping[str, Any]) -> bool:
    items = part.get("items", {})
    return "number" in {each.get("type") for each in items.get("anyOf", [items])}


def read_tensor(given: Any, binary: bytes, options: ServiceOptions) -> tuple[Tensor, bytes]:
    """A tensor of a request, and what is left of the request's binary part.

    Args:
        given: its JSON.
        binary: what was sent behind the JSON and no tensor before it has read.

    Raises:
        BadRequest: it is none.
        TooLarge: it has too many elements.
    """
    if not isinstance(given, dict):
        raise BadRequest("inputs: a tensor is an object with name, shape, datatype and data")
    name, datatype, shape = given.get("name"), given.get("datatype"), given.get("shape")
    if not isinstance(name, str):
        raise BadRequest("inputs: a tensor has no name")
    where = f"tensor {name!r:.60}"
    if datatype not in ("BYTES", *_TYPES):  # a tuple: what JSON has there need not be hashable
        raise BadRequest(f"{where}: the datatype {datatype!r:.60} is none of BYTES, {', '.join(_TYPES)}")
    if not isinstance(shape, list) or not shape or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        raise BadRequest(f"{where}: the shape {shape!r:.60} is no list of sizes")
    count = math.prod(shape)
    if count > options.numbers:
        raise TooLarge(f"{where}: {count:,} elements are more than this service takes, {options.numbers:,}")
    parameters = given.get("parameters") or {}
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        elements = _flat(given.get("data"), where)
        if len(elements) != count:
            raise BadRequest(f"{where}: {len(elements):,} elements are not those of the shape {shape}")
        data = elements if datatype == "BYTES" else _array(elements, datatype, shape, where)
        if datatype == "BYTES" and not all(isinstance(each, str) for each in elements):
            raise BadRequest(f"{where}: an element of BYTES is no text")
        return Tensor(name, datatype, tuple(shape), data), binary
    if type(size) is not int or not 0 <= size <= len(binary):
        raise BadRequest(
            f"{where}: binary_data_size {size!r:.60} is not what was sent ({len(binary)} bytes left)"
        )
    own, rest = binary[:size], binary[size:]
    if datatype == "BYTES":
        return Tensor(name, datatype, tuple(shape), _unpacked_bytes(own, count, where)), rest
    dtype = np.dtype(_TYPES[datatype])
    if size != count * dtype.itemsize:
        raise BadRequest(f"{where}: {size} bytes are not {count} elements of {datatype}")
    return Tensor(name, datatype, tuple(shape), np.frombuffer(own, dtype).reshape(shape)), rest


def _flat(data: Any, where: str) -> list[Any]:
    """Elements, which may be nested by dimension, in row-major order."""
    if not isinstance(data, list):
        raise BadRequest(f"{where}: data is no list")
    while data and all(isinstance(each, list) for each in data):
        data = [element for each in data for element in each]
    return data


def _array(elements: list[Any], datatype: str, shape: Sequence[int], where: str) -> np.ndarray:
    if not all(isinstance(each, (int, float)) or each is None for each in elements):
        raise BadRequest(f"{where}: an element of {datatype} is no number")
    numbers = [math.nan if each is None else each for each in elements]
    try:
        return np.asarray(numbers, np.dtype(_TYPES[datatype])).reshape(shape)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"{where}: an element is none of {datatype} ({error})") from None


def packed_bytes(elements: Sequence[str | bytes]) -> bytes:
    """Elements of BYTES in the binary extension: each after its length in four bytes, little-endian."""
    coded = [each.encode() if isinstance(each, str) else each for each in elements]
    return b"".join(struct.pack("<I", len(each)) + each for each in coded)


def _unpacked_bytes(packed: bytes, count: int, where: str) -> list[bytes]:
    found: list[bytes] = []
    place = 0
    while place + 4 <= len(packed):
        (length,) = struct.unpack_from("<I", packed, place)
        if length > len(packed) - place - 4:
            break
        found.append(packed[place + 4 : place + 4 + length])
        place += 4 + length
    if place != len(packed) or len(found) != count:
        raise BadRequest(f"{where}: {len(packed)} bytes are not {count} elements, each after its length")
    return found


def output_tensors(records: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """What records are as tensors: `output`, numbers where all are of one shape, and `record`, the JSON of each."""
    outputs = [record["output"] for record in records]
    whole = [json.dumps(record, allow_nan=False) for record in records]
    tensors = {"record": Tensor("record", "BYTES", (len(records),), whole)}
    if all(isinstance(each, list) for each in outputs):
        try:
            numbers = np.asarray(outputs, np.float64)
        except (ValueError, TypeError):
            numbers = None
        if numbers is not None and numbers.ndim > 1:
            return {"output": Tensor("output", "FP64", numbers.shape, numbers), **tensors}
    texts = [each if isinstance(each, str) else json.dumps(each, allow_nan=False) for each in outputs]
    return {"output": Tensor("output", "BYTES", (len(records),), texts), **tensors}
