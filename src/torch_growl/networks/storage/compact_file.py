"""The compact file: a safetensors file with the smaller network's tensors and its structure; see docs/format.md.

The file holds no code. It is loaded onto a freshly built dense network of the original class, and everything in it is
checked against that network's shapes.
"""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from torch_growl.arguments import check_choice
from torch_growl.errors import FileFormatError, InvalidValueError, LayerError
from torch_growl.files import replacing, write_bytes
from torch_growl.networks.compaction import Structure, expand_, recorded, shrink_
from torch_growl.networks.execution import unpack_heads_
from torch_growl.networks.layers import (
    check_network,
    outside_inference_mode,
    permanent_hooks,
    plain_copy,
    plain_model,
)
from torch_growl.networks.storage import version_1
from torch_growl.networks.storage.container import OWN, checksum, read, write
from torch_growl.networks.storage.decoding import decode
from torch_growl.networks.storage.encoding import encode
from torch_growl.networks.storage.int8 import dequantize, quantizable, quantize
from torch_growl.networks.storage.program import make_program, program_path, warn_if_stale

__all__ = ["FILE_DTYPES", "load", "load_dense", "save", "stored_itemsize"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_INT8 = "int8"
FILE_DTYPES = (*_DTYPES, _INT8)
_SCALE = f"{OWN}scale."


def save(
    small: nn.Module, path: str | os.PathLike[str], *, dtype: str | None = None, example_inputs: Any = None
) -> None:
    """Write a network as a compact file; one that ``compact`` did not make is stored whole.

    Args:
        small: the network; not modified.
        path: the file; an existing one is replaced only when the new one is complete.
        dtype: type to store floating-point parameters in: ``"float32"``, ``"bfloat16"`` or ``"float16"``; ``"int8"``:
            the weights of registered layers in int8 with one float32 scale for each output channel, all others in
            their own type; None: all in their own type. Buffers (running statistics) always keep their type. The
            int8 weights that :func:`load` gives a float32 network differ from the original ones by at most half a
            scale; zero stays zero.
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones: also write the network as a
            ``torch.export`` program, in eval mode and for CPUs, beside the file: ``NAME.pt2`` beside
            ``NAME.safetensors``. It gives the outputs of the network that :func:`load` returns, and needs no class;
            see :func:`load_program` for the trust it needs.

    Raises:
        InvalidTypeError: ``small`` is not a module.
        InvalidValueError: ``dtype`` is unknown, or something in its state cannot be stored.
        LayerError: a layer is still parametrized, or has weights that int8 cannot hold.
        ExportError: ``torch.export`` cannot export the network; nothing is written then.

    Warns:
        GrowlWarning: the program takes the example's batch size only, or one of an earlier save is beside the file.

    Example:
        >>> import pathlib, tempfile, torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> with torch.no_grad():
        ...     model[0].weight[:, 16:] = 0
        >>> small = tg.compact(model, torch.randn(2, 64))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     dense, compact = (pathlib.Path(folder) / name for name in ("dense", "compact"))
        ...     tg.save(model, dense)
        ...     tg.save(small, compact, dtype="int8")
        ...     dense.stat().st_size > 2 * compact.stat().st_size
        True
    """
    check_network("small", small, values=True)
    if dtype is not None:
        check_choice("dtype", dtype, FILE_DTYPES)
    small = plain_model(small)
    for name, module in small.named_modules():
        if parametrize.is_parametrized(module):
            raise LayerError(f"layer {name!r} is parametrized; compact the network or untie_ it before saving it")
        for kind in permanent_hooks(module).values():
            raise LayerError(f"layer {name!r} has {kind}; make it permanent or compact the network before saving it")
    path = Path(path)
    beside = program_path(path)
    text, structural = encode(recorded(small) or Structure(()))
    tensors = _stored(small, dtype)
    with replacing(path) as temporary:
        write(temporary, text, {**structural, **tensors})
        if example_inputs is not None:
            as_stored = plain_copy(small)
            _fill_(as_stored, tensors)
            # The program is swapped in first: its record of the file's checksum shows when only that happened.
            write_bytes(beside, make_program(as_stored, example_inputs, checksum(temporary)))
    if example_inputs is None:
        warn_if_stale(beside)


def _stored(small: nn.Module, dtype: str | None) -> dict[str, Tensor]:
    """Return the tensors to store by name: the network's, and the scales of int8 weights."""
    tensors: dict[str, Tensor] = {}
    layers = quantizable(small) if dtype == _INT8 else {}
    for name, value in _state(small).items():
        if name.startswith(OWN):
            raise InvalidValueError(
                f"{name!r}: names that begin with {OWN!r} are reserved for the file; rename the module"
            )
        if value.layout != torch.strided:
            raise InvalidValueError(f"{name!r} is a tensor of layout {value.layout}, which cannot be stored")
        if name in layers:
            tensors[name], tensors[_SCALE + name] = quantize(layers[name], name)
            continue
        stored = value.detach().to(_stored_dtype(value, dtype)).cpu()
        alone = stored.is_contiguous() and stored.untyped_storage().nbytes() == stored.nbytes
        tensors[name] = stored if alone else stored.clone(memory_format=torch.contiguous_format)
    return tensors


def _stored_dtype(value: Tensor, dtype: str | None) -> torch.dtype:
    """Return the type in which a tensor that is not a layer's int8 weight is stored."""
    converted = dtype in _DTYPES and isinstance(value, nn.Parameter) and value.is_floating_point()
    return _DTYPES[cast(str, dtype)] if converted else value.dtype


def stored_itemsize(value: Tensor, dtype: str | None) -> int:
    """Return the bytes of one element in the file; for every tensor but a layer's int8 weight."""
    return _stored_dtype(value, dtype).itemsize


def load(path: str | os.PathLike[str], model: nn.Module) -> nn.Module:
    """Load the compact network from a file that :func:`save` wrote.

    Args:
        path: the compact file.
        model: a freshly built dense network of the original class; not modified. Its values do not matter; types,
            devices, training mode and requires_grad flags are taken from it, and values stored in another
            floating-point type are converted to its own.

    Raises:
        InvalidTypeError: ``model`` is not a module.
        InvalidValueError: ``model`` is on the meta device.
        FileFormatError: the file is not a compact file, is damaged, or belongs to another network.

    Example:
        >>> import pathlib, tempfile, torch
        >>> import torch_growl as tg
        >>> def build():
        ...     return torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> model, x = build(), torch.randn(2, 64)
        >>> with torch.no_grad():
        ...     model[0].weight[:, 16:] = 0
        >>> small = tg.compact(model, x)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tg.save(small, pathlib.Path(folder) / "small.safetensors")
        ...     loaded = tg.load(pathlib.Path(folder) / "small.safetensors", build())
        >>> torch.equal(loaded(x), small(x)), sum(p.numel() for p in loaded.parameters())
        (True, 154)
    """
    check_network("model", model)
    dense = plain_copy(model, sharing=True)
    unpack_heads_(dense)
    contents = read(Path(path))
    reader = decode if contents.version >= (2, 0) else version_1.decode
    structure = reader(contents.structure, contents.tensors, dense, contents.version)
    with outside_inference_mode():
        small = shrink_(dense, structure)
        _fill_(small, ChainMap(contents.tensors, cast(Any, contents.weights)))
    return small


def load_dense(path: str | os.PathLike[str], model: nn.Module) -> nn.Module:
    """Load a compact file as a dense network in the original shapes: same outputs, removed weights are zero.

    Args:
        path: the compact file.
        model: as for :func:`load`; not modified.

    Raises:
        InvalidTypeError: as for :func:`load`.
        InvalidValueError: as for :func:`load`.
        FileFormatError: as for :func:`load`.

    Example:
        >>> import pathlib, tempfile, torch
        >>> import torch_growl as tg
        >>> model, x = torch.nn.Sequential(torch.nn.Linear(64, 8)), torch.randn(2, 64)
        >>> with torch.no_grad():
        ...     model[0].weight[:, 16:] = 0
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tg.save(tg.compact(model, x), pathlib.Path(folder) / "small.safetensors")
        ...     dense = tg.load_dense(
        ...         pathlib.Path(folder) / "small.safetensors", torch.nn.Sequential(torch.nn.Linear(64, 8))
        ...     )
        >>> torch.equal(dense[0].weight, model[0].weight)
        True
    """
    small = load(path, model)
    dense = plain_copy(model)
    with outside_inference_mode():
        return expand_(dense, small)


def _state(model: nn.Module) -> dict[str, Tensor]:
    """Return the network's tensors by name, each once, under the first of its names."""
    found: dict[int, str] = {}
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise InvalidValueError(f"{name!r} in the network's state is a {type(value).__name__}, not a tensor")
        if found.setdefault(id(value), name) == name:
            state[name] = value
    return state


@torch.no_grad()
def _fill_(small: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy a file's tensors into a network, one by one; after an error the network is of no use."""
    state, layers = _state(small), quantizable(small)
    for name in state:
        if name not in tensors:
            raise FileFormatError(f"the file has no tensor {name!r}: it was made from another network")
    used: set[str] = set()
    scales = {name for name in tensors if name.startswith(_SCALE) and name not in state}
    for name, value in tensors.items():
        if name in scales:
            continue
        if name not in state:
            raise FileFormatError(f"the network has no tensor {name!r}: the file was made from another network")
        target = state[name]
        if target.shape != value.shape:
            raise FileFormatError(
                f"{name!r} must have shape {tuple(target.shape)}, the file's has {tuple(value.shape)}"
            )
        scale = _SCALE + name
        if scale in scales and name in layers and value.dtype == torch.int8:
            used.add(scale)
            value = dequantize(layers[name], name, value, tensors[scale])
        elif value.dtype != target.dtype and not (
            target.is_floating_point() and value.dtype in (*_DTYPES.values(), torch.float64)
        ):
            missing = " without its scales" if value.dtype == torch.int8 else ""
            raise FileFormatError(f"{name!r} must be {target.dtype}, the file's is {value.dtype}{missing}")
        _set_(target, value)
    if scales > used:
        raise FileFormatError(f"{min(scales - used)!r} belongs to no int8 weight of this network")


def _set_(target: Tensor, value: Tensor) -> None:
    """Copy a value into a tensor; a parameter gets memory of its own, because it may share that of another network."""
    if isinstance(target, nn.Parameter):
        target.data = torch.empty_like(target).copy_(value)
    else:
        target.copy_(value)
