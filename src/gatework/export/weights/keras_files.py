"""What Keras's layers are and where their weights stand: in its files, or in a live model. Nothing of a file is run."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gatework.errors import InputError, MissingExtraError
from gatework.export.cell import Array
from gatework.export.weights.damage import refusing_damage

CONFIGURATION, WEIGHTS = "config.json", "model.weights.h5"
_CODE = {"Lambda", "__lambda__"}


class Stored(Protocol):
    """Where the weights of a layer or model are."""

    def layer(self, kind: str, name: str) -> Stored:
        """One layer of a model.

        Args:
            kind: its place in a file: its class, and its number among the layers of that class.
            name: its own.
        """

    def part(self, name: str) -> Stored:
        """A part of a layer: `cell`, `forward_layer`, `backward_layer`."""

    def arrays(self, count: int) -> list[Array]:
        """The arrays of a cell, in Keras's order."""


class InObject:
    """The weights of a live layer or model."""

    def __init__(self, where: str, value: Any) -> None:
        self.where, self.value = where, value

    def layer(self, kind: str, name: str) -> InObject:
        return InObject(self.where, self.value.get_layer(name))

    def part(self, name: str) -> InObject:
        return InObject(self.where, getattr(self.value, name))

    def arrays(self, count: int) -> list[Array]:
        found = [np.asarray(each) for each in self.value.get_weights()]
        if len(found) != count:
            raise InputError(
                self.where,
                f"a cell has {len(found)} arrays of weights and not {count}",
                "Build the model before: call it once, or give it an Input.",
            )
        return found


class InFile:
    """The weights of a file, in HDF5.

    Args:
        group: of h5py.
        path: from the file's root.
    """

    def __init__(self, where: str, group: Any, path: str = "") -> None:
        self.where, self.group, self.path = where, group, path

    def layer(self, kind: str, name: str) -> InFile:
        return self.part("layers").part(kind)

    def part(self, name: str) -> InFile:
        with refusing_damage(self.where, f"{self.path}/{name} of its weights cannot be read"):
            return self._part(name)

    def _part(self, name: str) -> InFile:
        h5py = _h5py()
        path = f"{self.path}/{name}"
        if not isinstance(self.group, h5py.Group) or name not in self.group:
            raise InputError(
                self.where,
                f"its weights have no {path}",
                "It is damaged, of another model, or older than Keras 3: save the model anew with Keras 3.",
            )
        if not isinstance(self.group.get(name, getlink=True), h5py.HardLink):
            raise InputError(
                self.where, f"{path} is a link to elsewhere, which is not followed", "Save it anew."
            )
        return InFile(self.where, self.group[name], path)

    def arrays(self, count: int) -> list[Array]:
        own = self.part("vars")
        found = [own.part(str(number)).array() for number in range(count)]
        if len(own.group) != count:
            raise InputError(
                self.where,
                f"{own.path} has {len(own.group)} arrays and not {count}",
                "Its weights are of another model than its configuration.",
            )
        return found

    def array(self) -> Array:
        with refusing_damage(self.where, f"{self.path} of its weights cannot be read"):
            return self._array()

    def _array(self) -> Array:
        dataset = self.group
        whole = isinstance(dataset, _h5py().Dataset) and not dataset.is_virtual and dataset.external is None
        if not whole or dataset.dtype.kind != "f" or dataset.id.get_storage_size() < dataset.nbytes:
            raise InputError(
                self.where, f"{self.path} is no array of numbers that the file itself holds", "Save it anew."
            )
        return np.asarray(dataset[()])


def opened(model: Any, configuration: Any) -> tuple[str, Mapping[str, Any], Stored]:
    """A name for messages, the configuration, and the weights.

    Args:
        model: a file, or a live layer or model.
        configuration: of a file that holds weights alone: a dict, JSON, or a file of it.

    Raises:
        InputError: no such file, a damaged one or one of another kind, or one that holds code.
        MissingExtraError: h5py is not installed.
    """
    if not isinstance(model, str | Path):
        return _of_object(model)
    path = Path(model)
    if not path.is_file():
        raise InputError(str(path), "there is no such file", "Give a .keras or a .weights.h5 file.")
    _h5py()
    content = path.read_bytes()
    if zipfile.is_zipfile(io.BytesIO(content)):
        configuration, content = _unpacked(str(path), content)
    elif configuration is None:
        raise InputError(
            str(path),
            "it is no .keras file",
            "It is damaged or of another kind. A .weights.h5 file needs configuration=model.to_json() besides; a "
            "model of Keras 2 is saved anew with model.save('model.keras').",
        )
    described = _parsed(str(path), configuration)
    return str(path), described, InFile(str(path), _hdf5(str(path), content))


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "keras") from error
    return h5py


def _unpacked(where: str, content: bytes) -> tuple[bytes, bytes]:
    """The configuration and the weights of a .keras file."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.read(CONFIGURATION), archive.read(WEIGHTS)
    except KeyError as error:
        raise InputError(
            where,
            f"it has no {CONFIGURATION} or no {WEIGHTS}",
            "Give a .keras file, as model.save writes it.",
        ) from error
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        NotImplementedError,
        EOFError,
        OSError,
        RuntimeError,
    ) as error:
        raise InputError(where, f"it is damaged ({error})", "Save the model anew.") from error


def _hdf5(where: str, content: bytes) -> Any:
    with refusing_damage(where, "its weights cannot be read as HDF5"):
        return _h5py().File(io.BytesIO(content), "r")


def _parsed(where: str, configuration: Any) -> Mapping[str, Any]:
    if isinstance(configuration, Path) or (
        isinstance(configuration, str) and not configuration.lstrip().startswith("{")
    ):
        where = str(configuration)
        if not Path(configuration).is_file():
            raise InputError(
                where, "there is no such file", "Give the configuration, as model.to_json() has it."
            )
        configuration = Path(configuration).read_bytes()
    if isinstance(configuration, str | bytes):
        try:
            configuration = json.loads(configuration)
        except (ValueError, RecursionError) as error:
            raise InputError(
                where, f"its configuration is no JSON ({error})", "The file is damaged."
            ) from error
    if not isinstance(configuration, Mapping) or not isinstance(configuration.get("config"), Mapping):
        raise InputError(
            where, "its configuration describes no model of Keras", "Give what model.to_json() has."
        )
    _refuse_code(where, configuration)
    return configuration


def _refuse_code(where: str, value: Any) -> None:
    """Refuses a configuration that holds a function as pickled code, though nothing here would run it."""
    if isinstance(value, Mapping):
        if value.get("class_name") in _CODE:
            raise InputError(
                where,
                "it has a Lambda layer, which is pickled code",
                "Make the model without it, or give the layers.",
            )
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            _refuse_code(where, each)


def _of_object(model: Any) -> tuple[str, Mapping[str, Any], Stored]:
    kind = type(model)
    if not kind.__module__.startswith(("keras.", "tf_keras.")):
        raise InputError(
            f"{kind.__module__}.{kind.__name__}",
            "it is no layer or model of Keras",
            "Give a path, or a layer or a Sequential or functional model of keras; of a class of your own, its layers.",
        )
    where = f"the {kind.__name__} {model.name!r}"
    described = {"class_name": kind.__name__, "config": model.get_config()}
    _refuse_code(where, described)
    return where, described, InObject(where, model)
