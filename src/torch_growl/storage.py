"""The compact file: a safetensors file with the smaller network's tensors and its structure; see docs/format.md.

Nothing in it is code. It is loaded onto a freshly built dense network of the original class, which gives the shapes
that everything in the file is checked against.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.nn.utils import parametrize

from torch_growl import structure_v1
from torch_growl.compaction import plain_copy
from torch_growl.errors import FileFormatError, InvalidTypeError, InvalidValueError, LayerError
from torch_growl.inspection import plain_model
from torch_growl.rewriting import expand_, shrink_
from torch_growl.structure import Structure, recorded
from torch_growl.structure_codec import STRUCTURE, decode, encode

__all__ = ["load", "load_dense", "save"]

_FORMAT, _VERSION = "torch-growl", "2"
_DECODERS = {"1": structure_v1.decode, "2": decode}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def save(small: nn.Module, path: str | os.PathLike[str], *, dtype: str | None = None) -> None:
    """Write a network made by ``compact``, or any other one whole.

    Args:
        small: the network; not modified.
        path: where; an existing file is replaced only when the new one is complete.
        dtype: type to store floating-point parameters in: ``"float32"``, ``"bfloat16"``, ``"float16"``; None: their
            own. Buffers (running statistics) keep their type.

    Raises:
        InvalidTypeError: ``small`` is no module.
        InvalidValueError: ``dtype`` is unknown, or something in its state is no tensor.
        LayerError: a layer is still parametrized.
    """
    if not isinstance(small, nn.Module):
        raise InvalidTypeError(f"small must be a torch.nn.Module, got {type(small).__name__}")
    if dtype is not None and dtype not in _DTYPES:
        raise InvalidValueError(f"dtype must be one of {', '.join(_DTYPES)} or None, got {dtype!r}")
    small = plain_model(small)
    for name, module in small.named_modules():
        if parametrize.is_parametrized(module):
            raise LayerError(f"layer {name!r} is parametrized; compact the network or untie_ it before saving it")
    structure = recorded(small) or Structure(())
    text, tensors = encode(structure)
    for name, value in _state(small).items():
        stored = value.detach()
        if dtype is not None and isinstance(value, nn.Parameter) and value.is_floating_point():
            stored = stored.to(_DTYPES[dtype])
        tensors[name] = stored.cpu().contiguous()
    data = _ordered(to_bytes(tensors, {"format": _FORMAT, "version": _VERSION, STRUCTURE: text}))
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _ordered(data: bytes) -> bytes:
    """A safetensors file with its metadata in order of name (the library's own order changes from run to run)."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def load(path: str | os.PathLike[str], model: nn.Module) -> nn.Module:
    """The compact network from a file.

    Args:
        path: what :func:`save` wrote.
        model: a freshly built dense network of the original class; not modified. Its values do not matter; types,
            devices, training mode and requires_grad flags are taken from it, and values stored in another
            floating-point type are converted to its own.

    Raises:
        InvalidTypeError: ``model`` is no module.
        InvalidValueError: ``model`` is on the meta device.
        FileFormatError: the file is not one, is damaged, or belongs to another network.
    """
    if not isinstance(model, nn.Module):
        raise InvalidTypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        raise InvalidValueError("model is on the meta device; build it on the device it will run on")
    dense = plain_copy(model)
    version, text, tensors = _read(Path(path))
    structure = _DECODERS[version](text, tensors, dense)
    small = shrink_(dense, structure)
    _fill_(small, tensors)
    return small


def load_dense(path: str | os.PathLike[str], model: nn.Module) -> nn.Module:
    """The dense network a file was made from, in its original shapes: same outputs, what was removed is zero.

    Args:
        path: what :func:`save` wrote.
        model: as for :func:`load`; not modified.

    Raises:
        FileFormatError: as for :func:`load`.
    """
    small = load(path, model)
    return expand_(plain_copy(model), small)


def _state(model: nn.Module) -> dict[str, Tensor]:
    """The network's tensors by name, each once, under the first of its names."""
    found: dict[int, str] = {}
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise InvalidValueError(f"{name!r} in the network's state is a {type(value).__name__}, not a tensor")
        if found.setdefault(id(value), name) == name:
            state[name] = value
    return state


def _read(path: Path) -> tuple[str, str, dict[str, Tensor]]:
    """A file's version, structure and tensors."""
    if not path.is_file():
        raise FileFormatError(f"{path}: there is no such file")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            _check_header(path, header)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return header["version"], header[STRUCTURE], tensors
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{path}: not a safetensors file, or a damaged one: {error}") from None


def _check_header(path: Path, header: Mapping[str, Any]) -> None:
    if header.get("format") != _FORMAT:
        raise FileFormatError(f"{path}: not a torch-growl file: its format is {header.get('format')!r}")
    if header.get("version") not in _DECODERS:
        known = ", ".join(_DECODERS)
        raise FileFormatError(f"{path}: version {header.get('version')!r} is not understood; understood are {known}")
    if not isinstance(header.get(STRUCTURE), str):
        raise FileFormatError(f"{path}: the header has no structure")


@torch.no_grad()
def _fill_(small: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    state = _state(small)
    for name in state:
        if name not in tensors:
            raise FileFormatError(f"the file has no tensor {name!r}: it was made from another network")
    for name, value in tensors.items():
        if name not in state:
            raise FileFormatError(f"the network has no tensor {name!r}: the file was made from another network")
        target = state[name]
        if target.shape != value.shape:
            raise FileFormatError(
                f"{name!r} must have shape {tuple(target.shape)}, the file's has {tuple(value.shape)}"
            )
        if target.is_floating_point() != value.is_floating_point() or (
            not target.is_floating_point() and target.dtype != value.dtype
        ):
            raise FileFormatError(f"{name!r} must be {target.dtype}, the file's is {value.dtype}")
    for name, value in tensors.items():
        target = state[name]
        target.copy_(value)
