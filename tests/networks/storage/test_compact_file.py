"""The compact file: what was saved comes back bit for bit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils import _pytree as pytree

from tests.support.compact_battery import MLP, NETS, Net, TiedWeight, vgg
from tests.support.compact_files import split
from tests.support.pruned_networks import settle_, zero_and_tie_
from torch_growl.errors import FileFormatError, InvalidTypeError, InvalidValueError, LayerError
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.compaction.structure import structure_of
from torch_growl.networks.storage.compact_file import load, load_dense, save


def outputs(model: nn.Module, x: Tensor) -> list[Tensor]:
    modes = [(module, module.training) for module in model.modules()]
    with torch.no_grad():
        found = pytree.tree_leaves(model.eval()(x))
    for module, mode in modes:
        module.training = mode
    return found


@pytest.mark.parametrize("full", [True, False], ids=["full", "local"])
@pytest.mark.parametrize("net", NETS, ids=str)
def test_round_trip_is_bit_equal(net: Net, full: bool, tmp_path: Path) -> None:
    model, x = net.trained(), net.input()
    small = compact(model, x, full=full)
    save(small, tmp_path / "small.safetensors")
    fresh = net.build()
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    loaded = load(tmp_path / "small.safetensors", fresh)
    assert structure_of(loaded) == structure_of(small)
    assert [(n, p.dtype, p.stride()) for n, p in loaded.named_parameters()] == [
        (n, p.dtype, p.stride()) for n, p in small.named_parameters()
    ]
    for a, b in zip(outputs(small, x), outputs(loaded, x), strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(value, before[name]) for name, value in fresh.state_dict().items())
    dense = load_dense(tmp_path / "small.safetensors", fresh)
    assert {n: v.shape for n, v in dense.state_dict().items()} == {n: v.shape for n, v in model.state_dict().items()}
    for a, b in zip(outputs(small, x), outputs(dense, x), strict=True):
        assert a.dtype == b.dtype
        tolerance = {torch.float16: 1e-2, torch.bfloat16: 5e-2}.get(a.dtype, 1e-5)
        assert (a - b).abs().max() <= tolerance * a.abs().max()
    assert os.listdir(tmp_path) == ["small.safetensors"]


def test_load_dense_gives_the_original_weights_and_zeros_for_removed_ones(tmp_path: Path) -> None:
    model = settle_(vgg())
    with torch.no_grad():
        model[4].weight[:, [2]] = 0
        model[13].weight[:, 4:8] = 0
    save(compact(model, torch.randn(2, 3, 8, 8)), tmp_path / "f")
    dense = load_dense(tmp_path / "f", vgg())
    for name, value in model.state_dict().items():
        found = dense.state_dict()[name]
        gone = {"0": [2], "1": [2], "8": [1], "9": [1], "12": [4, 5, 6, 7]}.get(name.split(".")[0], [])
        left = [i for i in range(len(value) if value.ndim else 0) if i not in gone]
        assert torch.equal(found[left], value[left]) if value.ndim else torch.equal(found, value)
        if gone and value.ndim:
            assert (found[gone] == (1 if name.endswith("running_var") else 0)).all()


def test_a_network_that_was_not_compacted_is_stored_whole(tmp_path: Path) -> None:
    model = settle_(MLP())
    save(model, tmp_path / "f")
    loaded = load(tmp_path / "f", MLP())
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert structure_of(loaded).layers == ()


def test_shared_parameters_are_stored_once(tmp_path: Path) -> None:
    model = zero_and_tie_(TiedWeight())
    save(compact(model, torch.randn(3, 30)), tmp_path / "f")
    with safe_open(tmp_path / "f", framework="pt") as file:
        assert "a.weight" in file.keys()  # noqa: SIM118
        assert "b.weight" not in file.keys()  # noqa: SIM118
    loaded = load(tmp_path / "f", TiedWeight())
    assert loaded.a.weight is loaded.b.weight
    assert torch.equal(loaded.a.weight, model.a.weight)


def test_half_precision_files_load_into_the_networks_own_type(tmp_path: Path) -> None:
    model = settle_(MLP())
    zero_and_tie_(model)
    small = compact(model, torch.randn(3, 20))
    sizes = {}
    for dtype in (None, "float32", "bfloat16", "float16"):
        save(small, tmp_path / str(dtype), dtype=dtype)
        sizes[dtype] = os.path.getsize(tmp_path / str(dtype))
        loaded = load(tmp_path / str(dtype), MLP())
        assert {p.dtype for p in loaded.parameters()} == {torch.float32}
        assert torch.equal(loaded.bn.running_var, small.bn.running_var)
        wanted = small.fc2.weight.to(getattr(torch, dtype or "float32")).float()
        assert torch.equal(loaded.fc2.weight, wanted)
    assert sizes[None] == sizes["float32"]
    for half in ("bfloat16", "float16"):
        assert abs(sizes["float32"] - sizes[half] - 2 * sum(p.numel() for p in small.parameters())) < 64


def test_selected_inputs_take_a_bit_each(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(600, 20))
    with torch.no_grad():
        model[0].weight[:, ::2] = 0
    save(compact(model, torch.randn(2, 600)), tmp_path / "f")
    _, tensors = split((tmp_path / "f").read_bytes())
    assert len(tensors["growl.labels.0"]) == 76  # 600 bits and the coding's four
    assert structure_of(load(tmp_path / "f", nn.Sequential(nn.Linear(600, 20)))).layers[0].width == 300


def test_views_of_one_memory_are_stored_apart(tmp_path: Path) -> None:
    model, memory = nn.Linear(3, 2), torch.randn(8)
    model.weight, model.bias = nn.Parameter(memory[:6].view(2, 3)), nn.Parameter(memory[6:])
    save(model, tmp_path / "f")
    assert torch.equal(load(tmp_path / "f", nn.Linear(3, 2)).bias, memory[6:])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (torch.eye(2).to_sparse(), "'table' is a tensor of layout torch.sparse_coo, which cannot be stored"),
        (torch.eye(2).to(torch.complex128), "the network's tensors cannot be stored: .*complex128"),
    ],
    ids=["sparse", "complex"],
)
def test_what_safetensors_cannot_hold_is_refused(table: Tensor, message: str, tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    model.register_buffer("table", table)
    with pytest.raises(InvalidValueError, match=message):
        save(model, tmp_path / "f")
    assert not list(tmp_path.iterdir())


def test_reserved_names_are_refused(tmp_path: Path) -> None:
    model = nn.Module()
    model.growl = nn.Linear(2, 2)
    with pytest.raises(InvalidValueError, match="'growl.weight': names that begin with 'growl.' are reserved"):
        save(model, tmp_path / "f")


def test_the_same_network_makes_the_same_bytes(tmp_path: Path) -> None:
    save(compact(zero_and_tie_(vgg(), 4), torch.randn(2, 3, 8, 8)), tmp_path / "a")
    for name in "bcdefgh":
        save(load(tmp_path / "a", vgg()), tmp_path / name)
    assert len({(tmp_path / name).read_bytes() for name in "abcdefgh"}) == 1


def test_flags_come_from_the_network_given_to_load(tmp_path: Path) -> None:
    save(compact(zero_and_tie_(MLP()), torch.randn(3, 20)), tmp_path / "f")
    fresh = MLP().eval()
    fresh.fc1.weight.requires_grad_(False)
    loaded = load(tmp_path / "f", fresh)
    assert not any(module.training for module in loaded.modules())
    assert [n for n, p in loaded.named_parameters() if not p.requires_grad] == ["fc1.layer.weight"]


def test_an_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"old")

    def fails(source: Path, target: Path) -> None:
        assert source.parent == target.parent == tmp_path
        raise OSError("disk full")

    monkeypatch.setattr("torch_growl.files.os.replace", fails)
    with pytest.raises(OSError, match="disk full"):
        save(MLP(), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidTypeError, match="small must be"):
        save("model", tmp_path / "f")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="dtype must be 'float32', 'bfloat16', 'float16' or 'int8', got 'int4'"):
        save(MLP(), tmp_path / "f", dtype="int4")
    with pytest.raises(InvalidTypeError, match="model must be"):
        load(tmp_path / "f", "model")  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="model must be"):
        load_dense(tmp_path / "f", "model")  # type: ignore[arg-type]
    with pytest.raises(FileFormatError, match="there is no such file"):
        load(tmp_path / "f", MLP())
    model = MLP()
    parametrize.register_parametrization(model.fc1, "weight", nn.Identity())
    with pytest.raises(LayerError, match="layer 'fc1' is parametrized; compact the network or untie_ it"):
        save(model, tmp_path / "f")

    class Extra(nn.Linear):
        def get_extra_state(self) -> Any:
            return {"a": 1}

    with pytest.raises(InvalidValueError, match="'_extra_state' in the network's state is a dict"):
        save(Extra(2, 2), tmp_path / "f")
    save(MLP(), tmp_path / "f")
    with torch.device("meta"):
        fresh = MLP()
    with pytest.raises(InvalidValueError, match="on the meta device"):
        load(tmp_path / "f", fresh)


def test_a_loaded_network_shares_no_memory_with_the_one_it_was_loaded_onto(tmp_path: Path) -> None:
    save(MLP(), tmp_path / "f")
    fresh = MLP()
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    loaded = load(tmp_path / "f", fresh)
    places = {value.data_ptr() for value in fresh.state_dict().values()}
    assert not places & {value.data_ptr() for value in loaded.state_dict().values()}
    assert all(torch.equal(value, before[name]) for name, value in fresh.state_dict().items())
    assert any(not torch.equal(value, before[name]) for name, value in loaded.state_dict().items())
