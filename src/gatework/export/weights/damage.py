"""What the packages that read a file raise where it is damaged, as our own error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gatework.errors import InputError


@contextmanager
def refusing_damage(where: str, what: str = "it is damaged") -> Iterator[None]:
    """A file is read within: onnx, protobuf, numpy and h5py find damage in many places, each with an error of its own.

    Raises:
        InputError: one of these errors was raised; that one is its cause.
    """
    try:
        yield
    except InputError:
        raise
    except (
        AttributeError,
        LookupError,
        OSError,
        OverflowError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise InputError(
            where, f"{what} ({type(error).__name__}: {error})", "Save or export the model anew."
        ) from error
