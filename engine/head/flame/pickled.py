"""FLAME's pickles read as data: nothing in the file is executed and nothing outside this module is built.

A pickle is a program that may call whatever it names. Here every permitted name stands for an inert record that only
keeps what it was given; arrays are put together afterwards from those records. Any other name is refused.
"""

from __future__ import annotations

import codecs
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np

from engine.core.errors import BadFile

MOST_BYTES = 2_000_000_000  # FLAME's files are 50 to 110 MB
_TROUBLE = (
    pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, ValueError, TypeError, UnicodeError,
    MemoryError, ImportError, OverflowError, RecursionError, OSError,
)  # fmt: skip


class _Refused(Exception):
    """A name that no FLAME file needs."""


class _Frozen(type):
    """Classes whose attributes a pickle's BUILD cannot replace."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise TypeError("a pickle may not change this class")


class _Record(metaclass=_Frozen):
    """What a call or an object of the file becomes: its arguments and its state."""

    def __init__(self, *args: object) -> None:
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Array(_Record):
    """numpy's `_reconstruct(ndarray, shape, type)`; state: version, shape, dtype, Fortran order, bytes."""


class _FromBuffer(_Record):
    """numpy's `_frombuffer(buffer, dtype, shape, order)` (pickle protocol 5)."""


class _Dtype(_Record):
    """numpy's dtype; state: version, byte order, ..."""


class _Scalar(_Record):
    """numpy's `scalar(dtype, bytes)`."""


class _Sparse(_Record):
    """A csc or csr matrix: data, indices, indptr, shape."""


class _Csc(_Sparse):
    pass


class _Csr(_Sparse):
    pass


class _Chumpy(_Record):
    """chumpy's Ch: its array is the entry "x" of the state."""


class _Bytes(_Record):
    """`_codecs.encode(text, "latin1")`: how Python 3 writes bytes for Python 2."""


class _Plain(_Record):
    """`object`, `ndarray`: only ever named as arguments."""


class _Rebuild(_Record):
    """Python's `copy_reg._reconstructor(class, base, state)`: calling it gives an empty record of that class."""

    def __new__(cls, kind: object, *rest: object) -> Any:
        if not (isinstance(kind, type) and issubclass(kind, _Record)):
            raise _Refused("copy_reg._reconstructor of something else")
        return kind()


_SPARSE = {"csc_matrix": _Csc, "csr_matrix": _Csr, "csc_array": _Csc, "csr_array": _Csr}
_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Plain, ("numpy", "dtype"): _Dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _FromBuffer for core in ("core", "_core")},
    **{(f"scipy.sparse{module}", name): kind for name, kind in _SPARSE.items()
       for module in ("", ".csc", ".csr", "._csc", "._csr")},
    ("chumpy.ch", "Ch"): _Chumpy, ("chumpy", "Ch"): _Chumpy,
    ("copy_reg", "_reconstructor"): _Rebuild, ("copyreg", "_reconstructor"): _Rebuild,
    ("__builtin__", "object"): _Plain, ("builtins", "object"): _Plain, ("_codecs", "encode"): _Bytes,
}  # fmt: skip


class _Reader(pickle.Unpickler):
    """An unpickler that knows the names of `_KNOWN` only."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None

    def persistent_load(self, pid: object) -> Any:
        raise _Refused("a persistent object")


def read_pickle(path: Path, wanted: Iterable[str]) -> dict[str, Any]:
    """The entries `wanted` (those that are there) of the dictionary in a FLAME pickle, as numpy arrays or texts.

    Raises BadFile if the file is missing, damaged, no dictionary, or names anything but plain arrays.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadFile(path, "is far larger than any FLAME model")
        with open(path, "rb") as file:
            found = _Reader(file, encoding="latin1").load()
        if not isinstance(found, dict):
            raise BadFile(path, "holds no dictionary of FLAME's fields")
        named = {_text(key): value for key, value in found.items()}
        return {key: _plain(named[key]) for key in wanted if key in named}
    except _Refused as refused:
        raise BadFile(
            path, f"names {refused}, which no FLAME model needs; it was not run: get the file from FLAME's own site"
        ) from None
    except FileNotFoundError:
        raise BadFile(path, "no such file") from None
    except _TROUBLE as error:
        raise BadFile(path, f"is no readable FLAME pickle ({error}); download it again") from None


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:
    """Records -> arrays; numbers and texts as they are; anything else stays an inert record."""
    if isinstance(value, _Array):
        _, shape, dtype, fortran, data = value.state
        kind = _dtype(dtype)
        return np.frombuffer(_bytes(data), kind).reshape(shape, order="F" if fortran else "C").copy()
    if isinstance(value, _FromBuffer):
        data, dtype, extent, order = (cast(Any, part) for part in value.args)
        return np.frombuffer(_bytes(data), _dtype(dtype)).reshape(extent, order=order).copy()
    if isinstance(value, _Scalar):
        return np.frombuffer(_bytes(value.args[1]), _dtype(value.args[0]))[0]
    if isinstance(value, _Chumpy):
        return _plain(value.state["x"])
    if isinstance(value, _Sparse):
        return _dense(value)
    if isinstance(value, _Bytes):
        return _bytes(value)
    return value


def _bytes(value: Any) -> bytes:
    if isinstance(value, _Bytes):
        value = value.args[0]
    if isinstance(value, str):
        return codecs.encode(value, "latin1")
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else b""


def _dtype(record: Any) -> np.dtype[Any]:
    """A dtype of plain numbers or bytes. ValueError for Python objects and structures."""
    kind = np.dtype(_text(record.args[0]))
    if record.state is not None:
        order = _text(record.state[1])
        kind = kind.newbyteorder("<" if order == "|" else order) if order in "<>|=" else kind  # type: ignore[arg-type]
    if kind.kind not in "fiubSU":
        raise ValueError(f"an array of '{kind}' instead of numbers")
    return kind


def _dense(record: _Sparse) -> np.ndarray:
    """A sparse matrix written out; its index arrays are checked before use."""
    state = {_text(key): value for key, value in dict(record.state).items()}
    rows, columns = (int(n) for n in _plain(state.get("_shape", state.get("shape"))))
    data, indices, starts = (np.asarray(_plain(state[name])) for name in ("data", "indices", "indptr"))
    outer, inner = (columns, rows) if isinstance(record, _Csc) else (rows, columns)
    counts = np.diff(starts.astype(np.int64))
    if rows * columns > 10**8 or len(starts) != outer + 1 or (counts < 0).any() or counts.sum() != len(data):
        raise ValueError("a sparse matrix that does not fit together")
    if len(indices) != len(data) or (len(indices) and not 0 <= indices.min() <= indices.max() < inner):
        raise ValueError("a sparse matrix with indices beyond its size")
    out = np.zeros((outer, inner))
    np.add.at(out, (np.repeat(np.arange(outer), counts), indices), data)
    return out.T if isinstance(record, _Csc) else out
