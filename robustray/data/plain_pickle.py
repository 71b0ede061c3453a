"""Pickles as CIFAR is published in them, read without trusting them: dicts, lists, numbers, text, arrays of whole numbers."""

from __future__ import annotations

import io
import math
import pickle
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray


class _Dtype:
    """Stands where a pickle asks for a numpy dtype. Nothing of numpy is called on a pickle's behalf."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code
        self.order = "|"

    def __setstate__(self, state: tuple[int, str | bytes, *tuple[object, ...]]) -> None:
        """Byte order; what else is there is for other types."""
        self.order = state[1].decode() if isinstance(state[1], bytes) else state[1]

    def known(self) -> np.dtype[Any]:
        """The type, where it is one of whole numbers.

        Raises:
            pickle.UnpicklingError: it is another.
        """
        if not re.fullmatch("[iu][1248]", self.code) or self.order not in tuple("<>|="):
            raise pickle.UnpicklingError(f"an array of {self.code!r}, not of whole numbers")
        return np.dtype(self.order + self.code)


class _Array:
    """Stands where a pickle asks for an array, takes its shape and bytes, and holds the array they make."""

    array: NDArray[Any]

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Dtype, bool, bytes]) -> None:
        _, shape, dtype, fortran, pixels = state
        known = dtype.known()
        if not isinstance(pixels, bytes) or math.prod(shape) * known.itemsize != len(pixels):
            raise pickle.UnpicklingError(f"an array {shape} of {known} in {len(pixels)} bytes")
        self.array = np.frombuffer(pixels, known).reshape(shape, order="F" if fortran else "C").copy()


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _frombuffer(pixels: bytes | bytearray, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    """How protocol 5 writes an array."""
    made = _Array()
    made.__setstate__((1, shape, dtype, order == "F", bytes(pixels)))
    return made


def _scalar(dtype: _Dtype, whole: bytes) -> int:
    """A whole number of numpy's, as labels may be listed one by one."""
    (number,) = np.frombuffer(whole, dtype.known())
    return int(number)


def _encode(text: str, *_: object) -> bytes:
    return text.encode("latin1")


_KNOWN = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("_codecs", "encode"): _encode,  # how Python 3 writes bytes for Python 2
}
"""All that a pickle may name, and what it gets instead: code of this file, which can build arrays of numbers and no more."""


class _Reader(pickle._Unpickler):  # C's would allocate whatever a damaged byte asks for
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which data has no need of; refused") from None


def read_pickle(whole: bytes) -> dict[str, Any]:
    """A pickled dict with arrays of whole numbers, its keys as text whether they were written as text or bytes.

    Raises:
        Exception: anything that unpickling damaged bytes raises; `pickle.UnpicklingError` where the pickle is no such
            dict, or asks for anything that could run code.
    """
    found = _Reader(io.BytesIO(whole), encoding="bytes").load()
    if not isinstance(found, dict):
        raise pickle.UnpicklingError(f"it holds {type(found).__name__}, not a dict")
    return {
        key.decode() if isinstance(key, bytes) else str(key): value.array if isinstance(value, _Array) else value
        for key, value in found.items()
    }
