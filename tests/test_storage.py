"""The compact file: what was saved comes back bit for bit, and whatever is wrong with a file is told, never run."""

from __future__ import annotations

import contextlib
import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils import _pytree as pytree

from compact_battery import MLP, NETS, Net, TiedWeight, settle_, vgg, zero_and_tie_
from torch_growl.bit_packing import pack
from torch_growl.compaction import compact, structure_of
from torch_growl.errors import FileFormatError, InvalidTypeError, InvalidValueError, LayerError
from torch_growl.storage import load, load_dense, save

DATA = Path(__file__).parent / "data"


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


def test_dense_again_is_the_original_where_nothing_was_removed_and_zero_elsewhere(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("live", "tied", "code", "size"),
    [
        (500, 500, "ranks", 75),  # 600 flags
        (500, 32, "kept", 75 + 313),  # and 5 bits for each of 500
        (598, 32, "kept", 75 + 374),
        (600, 32, "all", 450),  # 0 … 32 in 6 bits
        (600, 31, "all", 375),  # 0 … 31 in 5 bits
        (510, 32, "kept", 75 + 319),
    ],
)
def test_indices_take_the_shortest_code(live: int, tied: int, code: str, size: int, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(600, 20))
    with torch.no_grad():
        model[0].weight[:, tied:] = model[0].weight[:, torch.randperm(600 - tied) % tied]
        model[0].weight[:, live:] = 0
    small = compact(model, torch.randn(2, 600))
    save(small, tmp_path / "f")
    with safe_open(tmp_path / "f", framework="pt") as file:
        assert json.loads(file.metadata()["structure"])["layers"][0]["labels"] == code
        assert file.get_tensor("growl.labels.0").shape == (size,)
    found = structure_of(load(tmp_path / "f", nn.Sequential(nn.Linear(600, 20))))
    assert found == structure_of(small)
    assert found.layers[0].width == tied


def test_files_of_version_1_are_still_read(tmp_path: Path) -> None:
    """Written by the code of that time: a chain with tied rows, cut channels, a normalisation and a flatten."""
    expected = load_file(DATA / "version-1-expected.safetensors")

    def build() -> nn.Module:
        first, second, last = nn.Conv2d(2, 12, 3), nn.Conv2d(12, 8, 3), nn.Linear(32, 6)
        return nn.Sequential(first, nn.BatchNorm2d(12), nn.ReLU(), second, nn.ReLU(), nn.Flatten(), last).eval()

    small = load(DATA / "version-1.safetensors", build())
    assert [layer.outputs_left for layer in structure_of(small).layers] == [9, 6, 6]
    torch.testing.assert_close(outputs(small, expected["x"])[0], expected["y"])
    dense = load_dense(DATA / "version-1.safetensors", build())
    torch.testing.assert_close(outputs(dense, expected["x"])[0], expected["y"])
    assert torch.equal(dense[6].weight, expected["dense.6.weight"])
    save(small, tmp_path / "f")
    assert structure_of(load(tmp_path / "f", build())) == structure_of(small)
    with pytest.raises(FileFormatError, match="is not a layer of this network"):
        load(DATA / "version-1.safetensors", MLP())


@pytest.mark.parametrize("position", range(0, 4000, 13))
def test_a_file_of_version_1_with_changed_bytes_never_does_anything_else(position: int, tmp_path: Path) -> None:
    data = bytearray((DATA / "version-1.safetensors").read_bytes())
    data[position % len(data)] ^= 1 << (position % 8)
    (tmp_path / "f").write_bytes(data)
    first, second, last = nn.Conv2d(2, 12, 3), nn.Conv2d(12, 8, 3), nn.Linear(32, 6)
    model = nn.Sequential(first, nn.BatchNorm2d(12), nn.ReLU(), second, nn.ReLU(), nn.Flatten(), last)
    with contextlib.suppress(FileFormatError):
        load(tmp_path / "f", model)


def test_the_same_network_makes_the_same_bytes(tmp_path: Path) -> None:
    save(compact(zero_and_tie_(vgg(), 4), torch.randn(2, 3, 8, 8)), tmp_path / "a")
    for name in "bcdefgh":
        save(load(tmp_path / "a", vgg()), tmp_path / name)
    assert len({(tmp_path / name).read_bytes() for name in "abcdefgh"}) == 1


def test_flags_come_from_the_network_that_is_filled(tmp_path: Path) -> None:
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

    monkeypatch.setattr("torch_growl.storage.os.replace", fails)
    with pytest.raises(OSError, match="disk full"):
        save(MLP(), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidTypeError, match="small must be"):
        save("model", tmp_path / "f")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="dtype must be one of float32, bfloat16, float16 or None, got 'int8'"):
        save(MLP(), tmp_path / "f", dtype="int8")
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


# ── files that are not what they should be ──────────────────────────────────────────────────────────────────────────


def made() -> nn.Module:
    """A network whose file has every kind of entry: labels, masks, a block, normalisations."""
    torch.manual_seed(0)
    return zero_and_tie_(settle_(vgg()), 4)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "f"
    save(compact(made(), torch.randn(2, 3, 8, 8)), path)
    return path.read_bytes()


def attempt(data: bytes, path: Path) -> None:
    """Load it: it works, or it raises FileFormatError; anything else is a defect."""
    path.write_bytes(data)
    try:
        load(path, vgg())
    except FileFormatError:
        return


def test_a_file_cut_off_anywhere_is_refused(good: bytes, tmp_path: Path) -> None:
    for length in [*range(64), *range(64, len(good), 97), len(good) - 1]:
        (tmp_path / "f").write_bytes(good[:length])
        with pytest.raises(FileFormatError, match="not a safetensors file, or a damaged one"):
            load(tmp_path / "f", vgg())


def test_a_file_with_changed_bytes_never_does_anything_else(good: bytes, tmp_path: Path) -> None:
    chance = random.Random(0)
    header = 8 + struct.unpack("<Q", good[:8])[0]
    for number in range(600):
        data = bytearray(good)
        for _ in range(chance.choice([1, 1, 2, 8])):
            place = chance.randrange(header if number % 3 else len(data))
            data[place] = chance.choice([chance.randrange(256), data[place] ^ (1 << chance.randrange(8)), ord("9")])
        attempt(bytes(data), tmp_path / "f")


def test_files_that_are_something_else_are_refused(good: bytes, tmp_path: Path) -> None:
    for data in (
        b"",
        b"{}",
        b"\x80\x04N.",
        os.urandom(999),
        b"PK\x03\x04" + b"\0" * 99,
        struct.pack("<Q", 2**63) + b"{}",
    ):
        (tmp_path / "f").write_bytes(data)
        with pytest.raises(FileFormatError, match="not a safetensors file"):
            load(tmp_path / "f", vgg())
    with pytest.raises(FileFormatError, match="no such file"):
        load(tmp_path, vgg())


def changed(
    good: bytes, path: Path, change: Callable[[dict[str, Any], dict[str, Tensor], dict[str, str]], Any]
) -> Path:
    """The good file with its structure, tensors and metadata changed."""
    path.write_bytes(good)
    with safe_open(path, framework="pt") as file:
        header = dict(file.metadata())
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    data = json.loads(header["structure"])
    if change(data, tensors, header) is not True:
        header["structure"] = json.dumps(data)
    save_file(tensors, path, header)
    return path


def layer(number: int, **fields: Any) -> Callable[..., None]:
    return lambda data, tensors, header: data["layers"][number].update(fields)


def cut(number: int, **fields: Any) -> Callable[..., None]:
    return lambda data, tensors, header: data["parameters"][number].update(fields)


def attribute(number: int, **fields: Any) -> Callable[..., None]:
    return lambda data, tensors, header: data["attributes"][number].update(fields)


def tensor(name: str, value: Tensor) -> Callable[..., None]:
    return lambda data, tensors, header: tensors.update({name: value})


def head(**fields: str) -> Callable[..., bool]:
    return lambda data, tensors, header: header.update(fields) is None


def gone(part: str, key: Any) -> Callable[..., None]:
    def change(data: Any, tensors: Any, header: Any) -> None:
        {"data": data, "tensors": tensors}[part].pop(key)

    return change


# Layers 0..4 are modules "0", "4", "8", "13", "17" of the VGG-like network.
FAULTS: list[tuple[Callable[..., Any], str]] = [
    (head(format="other"), "not a torch-growl file: its format is 'other'"),
    (head(version="3"), "version '3' is not understood; understood are 1, 2"),
    (head(structure="{"), "structure is not JSON"),
    (head(structure="[" * 100_000), "structure is not JSON"),
    (head(structure="[]"), "must be an object with the fields attributes, layers, parameters"),
    (lambda data, tensors, header: header.pop("structure") is not None, "header has no structure"),
    (gone("data", "parameters"), "must be an object with the fields"),
    (lambda data, tensors, header: data.update(layers={}), "layers must be a list of objects"),
    (lambda data, tensors, header: data.update(parameters=[1]), "parameters must be a list of objects"),
    (lambda data, tensors, header: data.update(op="exec"), "must be an object with the fields"),
    (layer(0, op="exec"), r"layer '0' of the structure has unknown fields \['op'\]"),
    (layer(0, name=3), "layer 0 of the structure: name must be str, got 3"),
    (layer(0, name="nowhere"), "layer 'nowhere' of the file is not a layer of this network"),
    (layer(0, name="1"), "layer '1' of the file is not a layer of this network"),
    (layer(0, width="2"), "layer '0': width must be int"),
    (layer(0, width=True), "layer '0': width must be int"),
    (layer(0, form="exec"), "layer '0': form must be one of full, local, none"),
    (layer(0, reason=None), "layer '0': reason must be str"),
    (layer(1, outputs=13), r"layer '4': the file is for \(inputs, outputs, groups\) \(8, 13, 1\).* has \(8, 12, 1\)"),
    (layer(1, name="0"), "layer '0': the file is for|is in the structure twice"),
    (lambda data, tensors, header: data["layers"].append({**data["layers"][0]}), "layer '0': labels are missing"),
    (layer(0, source="4"), r"layer '0' of the structure has unknown fields \['source'\]"),
    (layer(1, width=0), r"layer '4': width must be 1..6 and a multiple of 1, got 0|are of a layer without inputs"),
    (layer(1, width=7), r"layer '4': width must be 1..6"),
    (layer(1, width=3), "layer '4': (its labels must be|input . has label 3, outside its group's inputs)"),
    (layer(1, labels="exec"), "layer '4': labels are missing, or their code 'exec' is none of"),
    (layer(1, labels=3), "layer '4': labels must be str"),
    (gone("tensors", "growl.labels.1"), "layer '4': labels are missing"),
    (tensor("growl.labels.1", torch.ones(4, dtype=torch.uint8)), "layer '4': its labels must be 3 bytes of uint8"),
    (tensor("growl.labels.1", torch.ones(3)), "layer '4': its labels must be 3 bytes of uint8, got .* torch.float32"),
    (tensor("growl.labels.1", torch.full((3,), 255, dtype=torch.uint8)), "its labels has bits set|label 6, outside"),
    (tensor("growl.labels.1", pack([7] * 6, 3)), "layer '4': input 0 has label 6, outside its group's inputs"),
    (
        lambda data, tensors, header: (
            data["layers"].append(dict(data["layers"][2])),
            tensors.update({"growl.labels.5": tensors["growl.labels.2"].clone()}),
            tensors.update({"growl.arriving.5": tensors["growl.arriving.2"].clone()}),
        ),
        "layer '8' is in the structure twice",
    ),
    (gone("tensors", "growl.arriving.2"), "layer '8': its labels must be 5 bytes of uint8"),
    (tensor("growl.arriving.1", torch.zeros(1, dtype=torch.uint8)), "'4': the mask of arriving inputs is empty"),
    (tensor("growl.kept.0", torch.zeros(1, dtype=torch.uint8)), "layer '0': the mask of kept outputs is empty"),
    (tensor("growl.kept.0", torch.zeros(2, dtype=torch.uint8)), "layer '0': the mask of kept outputs must be 1 bytes"),
    (tensor("growl.kept.1", torch.full((2,), 255, dtype=torch.uint8)), "has bits set after its last number"),
    (layer(0, groups_left=1), "layer '0': it has one group, of which none can be cut"),
    (cut(0, module="nowhere"), "parameters of 'nowhere': the network has no such module, or it is a layer"),
    (cut(0, module="0"), "parameters of '0': the network has no such module, or it is a layer"),
    (cut(0, module=2), "entry 0 of the structure's parameters: module must be str"),
    (cut(0, size=9), "parameters of '1': the network has no 'weight' of size 9 along dimension 0"),
    (cut(0, dim=1), "parameters of '1': the network has no 'weight' of size 8 along dimension 1"),
    (cut(0, dim=-1), "parameters of '1': the network has no 'weight' of size 8 along dimension -1"),
    (cut(0, names=["exec"]), "parameters of '1': the network has no 'exec'"),
    (cut(0, names="weight"), "parameters of '1': names must be a list of names"),
    (cut(0, op="exec"), "parameters of '1' must have the fields"),
    (gone("tensors", "growl.parameters.0"), "parameters of '1': the mask of what is left is missing"),
    (lambda data, tensors, header: data["parameters"].append(data["parameters"][0]), "mask of what is left is missing"),
    (
        lambda data, tensors, header: (
            data["parameters"].append(data["parameters"][0]),
            tensors.update({"growl.parameters.5": tensors["growl.parameters.0"].clone()}),
        ),
        "a parameter is cut twice",
    ),
    (attribute(0, name="__class__"), "attribute '__class__' of '1': must be 8 in this network"),
    (attribute(0, name="forward"), "attribute 'forward' of '1': must be 8 in this network"),
    (attribute(0, after="6"), "attribute 'num_features' of '1': after must be int"),
    (attribute(0, after=9), "attribute 'num_features' of '1': must be 8 in this network and become smaller, is 8"),
    (attribute(0, before=7), "attribute 'num_features' of '1': must be 7 in this network and become smaller, is 8"),
    (attribute(0, module="nowhere"), "attribute 'num_features' of 'nowhere'"),
    (attribute(0, op="exec"), "an attribute of the structure must have the fields"),
    (lambda data, tensors, header: data["attributes"].append(data["attributes"][0]), "attribute is changed twice"),
    (lambda data, tensors, header: data["parameters"].pop(), "'14.(weight|bias|running_mean|running_var)' must|tensor"),
    (gone("tensors", "17.layer.bias"), "the file has no tensor '17.layer.bias'"),
    (tensor("other", torch.zeros(1)), "the network has no tensor 'other'"),
    (tensor("growl.kept.9", torch.zeros(1)), "the network has no tensor 'growl.kept.9'"),
    (tensor("17.layer.bias", torch.zeros(8)), r"'17.layer.bias' must have shape \(7,\), the file's has \(8,\)"),
    (tensor("17.layer.bias", torch.zeros(7, dtype=torch.int32)), "'17.layer.bias' must be torch.float32"),
    (tensor("1.num_batches_tracked", torch.tensor(1.0)), "'1.num_batches_tracked' must be torch.int64"),
]


@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_every_fault_has_its_message(number: int, good: bytes, tmp_path: Path) -> None:
    change, message = FAULTS[number]
    with pytest.raises(FileFormatError, match=message):
        load(changed(good, tmp_path / "f", change), vgg())


def test_the_good_file_is_good(good: bytes, tmp_path: Path) -> None:
    load(changed(good, tmp_path / "f", lambda data, tensors, header: None), vgg())


def test_grouped_layers_have_their_own_faults(tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(1, 12), nn.Unflatten(1, (12, 1, 1)), nn.Conv2d(12, 8, 1, groups=2))

    model = build()
    with torch.no_grad():
        model[2].weight[:, 2:] = 0
    save(compact(model, torch.randn(2, 1)), tmp_path / "f")
    good = (tmp_path / "f").read_bytes()
    load(tmp_path / "f", build())
    swapped = pack([3, 4, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0], 3)

    def swap(data: dict[str, Any], tensors: dict[str, Tensor], header: Any) -> None:
        data["layers"][1]["labels"] = "all"
        tensors["growl.labels.1"] = swapped

    with pytest.raises(FileFormatError, match="input 0 has label 2, outside its group's inputs"):
        load(changed(good, tmp_path / "f", swap), build())
    with pytest.raises(FileFormatError, match="of a grouped layer, groups go with their inputs and outputs"):
        load(changed(good, tmp_path / "f", tensor("growl.kept.1", torch.ones(1, dtype=torch.uint8))), build())
    with pytest.raises(FileFormatError, match=r"width must be 1..12 and a multiple of 2|its labels"):
        load(changed(good, tmp_path / "f", layer(1, width=3)), build())

    def half_a_group(data: dict[str, Any], tensors: dict[str, Tensor], header: Any) -> None:
        tensors["growl.kept.1"] = torch.tensor([0b00000111], dtype=torch.uint8)
        tensors["growl.arriving.1"] = torch.tensor([0b00111111, 0], dtype=torch.uint8)
        data["layers"][1].update(groups_left=1)

    with pytest.raises(FileFormatError, match="what is left of a grouped layer must be whole groups"):
        load(changed(good, tmp_path / "f", half_a_group), build())


def test_another_networks_file_is_refused(good: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(good)
    with pytest.raises(FileFormatError, match="is not a layer of this network"):
        load(tmp_path / "f", MLP())
