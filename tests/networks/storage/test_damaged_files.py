"""Compact files that are not what they should be: each is refused with its message, and nothing is run or changed."""

from __future__ import annotations

import contextlib
import copy
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.compact_battery import MLP, vgg
from tests.support.compact_files import Change, changed, resealed, split, write_changed
from tests.support.pruned_networks import settle_, zero_and_tie_
from torch_growl.errors import FileFormatError
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.compaction.structure import structure_of
from torch_growl.networks.storage.bit_packing import encode_labels, encode_set
from torch_growl.networks.storage.compact_file import load, load_dense, save


def made() -> nn.Module:
    """A network whose file has every kind of entry: labels, masks, a block, normalisations."""
    torch.manual_seed(0)
    return zero_and_tie_(settle_(vgg()), 4)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "f"
    save(compact(made(), torch.randn(2, 3, 8, 8)), path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def good_int8(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "f"
    save(compact(made(), torch.randn(2, 3, 8, 8)), path, dtype="int8")
    return path.read_bytes()


def refused(data: bytes, path: Path, message: str = ".") -> None:
    """Whoever loads it is told so, and the network given to be filled is as it was."""
    path.write_bytes(data)
    model = vgg()
    before = copy.deepcopy(model.state_dict())
    for reader in (load, load_dense):
        with pytest.raises(FileFormatError, match=message):
            reader(path, model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not hasattr(model, "_growl_structure")


def test_a_file_cut_off_anywhere_is_refused(good: bytes, tmp_path: Path) -> None:
    for length in [*range(64), *range(64, len(good), 97), len(good) - 1]:
        refused(good[:length], tmp_path / "f", "not a safetensors file, or a damaged one")


def test_every_changed_bit_is_noticed(good: bytes, good_int8: bytes, tmp_path: Path) -> None:
    chance = random.Random(0)
    for number in range(300):
        data = bytearray((good, good_int8)[number % 2])
        header = 8 + struct.unpack("<Q", data[:8])[0]
        place = chance.randrange(header if number % 3 else len(data))
        data[place] ^= 1 << chance.randrange(8)
        refused(bytes(data), tmp_path / "f")


def test_bytes_changed_by_who_knows_the_checksum_never_do_anything_else(
    good: bytes, good_int8: bytes, tmp_path: Path
) -> None:
    """The file loads to some network, or is refused: anything else is a defect."""
    chance, loaded = random.Random(0), 0
    for number in range(300):
        data = bytearray((good, good_int8)[number % 2])
        header = 8 + struct.unpack("<Q", data[:8])[0]
        for _ in range(chance.choice([1, 1, 2, 8])):
            place = chance.randrange(8, header if number % 3 else len(data))
            data[place] = chance.choice([chance.randrange(256), data[place] ^ (1 << chance.randrange(8)), ord("9")])
        (tmp_path / "f").write_bytes(resealed(bytes(data)))
        try:
            load(tmp_path / "f", vgg())
            loaded += 1
        except FileFormatError:
            pass
    assert 10 < loaded < 250  # some changes only change values


def test_every_bit_of_the_packed_indices_is_read(good: bytes, tmp_path: Path) -> None:
    """A flipped bit gives another structure that fits, or is refused; it is never passed over."""
    (tmp_path / "f").write_bytes(good)
    expected = structure_of(load(tmp_path / "f", vgg()))
    _, tensors = split(good)
    same = 0
    for name in [name for name in tensors if name.startswith("growl.")]:
        for bit in range(8 * len(tensors[name])):
            value = tensors[name].clone()
            value[bit // 8] ^= 1 << bit % 8
            write_changed(good, tmp_path / "f", tensor(name, value))
            with contextlib.suppress(FileFormatError):
                same += structure_of(load(tmp_path / "f", vgg())) == expected
    assert same <= 1  # the set {0, 2} of three in another of its codings


def test_files_that_are_something_else_are_refused(good: bytes, tmp_path: Path) -> None:
    for data in (
        b"",
        b"{}",
        b"\x80\x04N.",
        random.Random(0).randbytes(999),
        b"PK\x03\x04" + b"\0" * 99,
        struct.pack("<Q", 2**63) + b"{}",
    ):
        (tmp_path / "f").write_bytes(data)
        with pytest.raises(FileFormatError, match="not a safetensors file"):
            load(tmp_path / "f", vgg())
    with pytest.raises(FileFormatError, match="no such file"):
        load(tmp_path, vgg())


def layer(number: int, **fields: Any) -> Callable[..., None]:
    return lambda data, tensors, header: data["layers"][number].update(fields)


def cut(number: int, **fields: Any) -> Callable[..., None]:
    return lambda data, tensors, header: data["parameters"][number].update(fields)


def attribute(**fields: Any) -> Callable[..., None]:
    """One that would be allowed (a pooling's size), changed."""
    entry = {"module": "3", "name": "kernel_size", "before": 2, "after": 1}
    return lambda data, tensors, header: data["attributes"].append({**entry, **fields})


def tensor(name: str, value: Tensor) -> Callable[..., None]:
    return lambda data, tensors, header: tensors.update({name: value})


def labels(value: Tensor) -> Callable[..., None]:
    return tensor("growl.labels.1", value)


def kept(value: Tensor) -> Callable[..., None]:
    return tensor("growl.set.0", value)


def kept_1(value: Tensor) -> Callable[..., None]:
    return tensor("growl.kept.0", value)


def head(**fields: str) -> Callable[..., bool]:
    return lambda data, tensors, header: header.update(fields) is None


def gone(part: str, key: Any) -> Callable[..., None]:
    def change(data: Any, tensors: Any, header: Any) -> None:
        {"data": data, "tensors": tensors}[part].pop(key)

    return change


# Layers 0..4 are modules "0", "4", "8", "13", "17" of the VGG-like network.
FAULTS: list[tuple[Callable[..., Any], str]] = [
    (head(format="other"), "not a torch-growl file: its format is 'other'"),
    (head(version="2"), "version '2' is not understood; this torch-growl reads 1 and 2"),
    (head(version="3.0"), "version '3.0' is not understood"),
    (head(version="02.0 "), "version '02.0 ' is not understood"),
    (lambda data, tensors, header: header.pop("version") is not None, "version 'None' is not understood"),
    (lambda data, tensors, header: header.pop("crc32") is not None, "header has no checksum 'crc32'"),
    (head(structure="{"), "structure is not JSON"),
    (head(structure="[" * 100_000), "structure is not JSON"),
    (head(structure="1" * 5000), "structure is not JSON"),
    (head(structure="[]"), "must be an object with the fields layers, parameters, attributes"),
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
    (
        lambda data, tensors, header: data["layers"].append({**data["layers"][2], "width": 8}),
        "layer '8' is in the structure twice",
    ),
    (layer(0, source="4"), r"layer '0' of the structure has unknown fields \['source'\]"),
    (layer(0, groups_left=1), "layer '0': it has one group, of which none can be cut"),
    (layer(1, shares="0"), "layer '4': it cannot share the inputs of '0'"),
    (layer(1, shares="nowhere"), "layer '4': it cannot share the inputs of 'nowhere'"),
    (layer(1, shares=0), "layer '4': shares must be str"),
    (layer(2, arriving=3), "layer '8', (arriving|labels): "),
    (layer(1, arriving=99), "layer '4': arriving: the file has no 'growl.set.99'"),
    (layer(1, arriving="0"), "layer '4': arriving must be int"),
    (layer(1, width=0), r"layer '4': width must be 1..6 and a multiple of 1, got 0"),
    (layer(1, width=7), r"layer '4': width must be 1..6"),
    (layer(1, width=3), "layer '4', labels: more inputs are chosen than the 3 that it has"),
    (gone("tensors", "growl.labels.1"), "layer '4': 6 inputs arrive, but its width is 4 and it has no labels"),
    (labels(torch.ones(6)), "layer '4', labels: packed bits must be a list of uint8, got torch.float32, 1-D"),
    (labels(torch.zeros(2, 2, dtype=torch.uint8)), "layer '4', labels: packed bits must be .* 2-D"),
    (labels(torch.zeros(0, dtype=torch.uint8)), "layer '4', labels: 2 bits are due, but its packed bits end after 0"),
    (labels(torch.tensor([3], dtype=torch.uint8)), "layer '4', labels: its labels are in an unknown coding 3"),
    (labels(torch.tensor([12], dtype=torch.uint8)), "layer '4', labels: a set is in an unknown coding 3"),
    (labels(torch.zeros(9, dtype=torch.uint8)), "layer '4', labels: 62 packed bits are left over"),
    (labels(encode_labels((5, 0, 1, 2, 3, 0), 7, 1)), "layer '4': input 0 has label 5, outside its group's inputs"),
    (labels(encode_labels((0, 1, 2, 3, 4, 5), 6, 1)), "layer '4', labels: more inputs are chosen than the 4"),
    (labels(encode_labels((0,) * 60, 4, 1)), "layer '4', labels: .*(left over|due)"),
    (kept(torch.zeros(1, dtype=torch.uint8)), "layer '0', kept: 8 bits are due, .* end after 6"),
    (kept(torch.zeros(2)), "layer '0', kept: packed bits must be a list of uint8"),
    (kept(encode_set((), 8)), "layer '0', kept: the set is empty"),
    (kept(encode_set((1, 2), 80)), "layer '0', kept: "),
    (kept(torch.tensor([0x91 & 0xFF, 0x05], dtype=torch.uint8)), "layer '0', kept: "),
    (kept(encode_set((0, 1), 8)), "layer '4': width must be 1..2 and a multiple of 1, got 4"),
    (cut(0, module="nowhere"), "parameters of 'nowhere': the network has no such module, or it is a layer"),
    (cut(0, module="0"), "parameters of '0': the network has no such module, or it is a layer"),
    (cut(0, module=2), "entry 0 of the structure's parameters: module must be str"),
    (cut(0, size=9), "parameters of '1': the network has no 'weight' of size 9 along dimension 0"),
    (cut(0, dim=1), "parameters of '1': the network has no 'weight' of size 8 along dimension 1"),
    (cut(0, dim=-1), "parameters of '1': the network has no 'weight' of size 8 along dimension -1"),
    (cut(0, names=["exec"]), "parameters of '1': the network has no 'exec'"),
    (cut(0, names="weight"), "parameters of '1': names must be a list of names"),
    (cut(0, op="exec"), "parameters of '1' must have the fields"),
    (gone("tensors", "growl.set.0"), "the file has no 'growl.set.0'"),
    (lambda data, tensors, header: data["parameters"].append(data["parameters"][0]), "a parameter is cut twice"),
    (cut(0, kept=99), "parameters of '1': kept: the file has no 'growl.set.99'"),
    (attribute(name="__class__"), "attribute '__class__' of '3': must be 2 in this network"),
    (attribute(name="forward"), "attribute 'forward' of '3': must be 2 in this network"),
    (attribute(after="1"), "attribute 'kernel_size' of '3': after must be int"),
    (attribute(after=3), "attribute 'kernel_size' of '3': must be 2 in this network and become smaller, is 2"),
    (attribute(before=7), "attribute 'kernel_size' of '3': must be 7 in this network and become smaller, is 2"),
    (attribute(module="nowhere"), "attribute 'kernel_size' of 'nowhere'"),
    (attribute(op="exec"), "an attribute of the structure must have the fields"),
    (lambda data, tensors, header: [attribute()(data, 0, 0) for _ in "12"] and None, "attribute is changed twice"),
    (
        attribute(module="1", name="num_features", before=8, after=6),
        "attribute is changed twice",
    ),
    (
        lambda data, tensors, header: data["parameters"].pop(),
        "'14.(weight|bias|running_mean|running_var)' must have shape",
    ),
    (gone("tensors", "17.layer.bias"), "the file has no tensor '17.layer.bias'"),
    (tensor("other", torch.zeros(1)), "the network has no tensor 'other'"),
    (tensor("growl.set.9", torch.zeros(1)), "the network has no tensor 'growl.set.9'"),
    (tensor("17.layer.bias", torch.zeros(8)), r"'17.layer.bias' must have shape \(7,\), the file's has \(8,\)"),
    (tensor("17.layer.bias", torch.zeros(7, dtype=torch.int32)), "'17.layer.bias' must be torch.float32"),
    (tensor("1.num_batches_tracked", torch.tensor(1.0)), "'1.num_batches_tracked' must be torch.int64"),
]


@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_every_fault_has_its_message(number: int, good: bytes, tmp_path: Path) -> None:
    change, message = FAULTS[number]
    refused(changed(good, change), tmp_path / "f", message)


SCALE, WEIGHT = "growl.scale.17.layer.weight", "17.layer.weight"
INT8_FAULTS: list[tuple[Change, str]] = [
    (gone("tensors", SCALE), f"'{WEIGHT}' must be torch.float32, the file's is torch.int8 without its scales"),
    (tensor(SCALE, torch.ones(8)), f"scales of '{WEIGHT}' must be 7 of float32, the file's are \\(8,\\)"),
    (tensor(SCALE, torch.ones(7).double()), f"scales of '{WEIGHT}' must be 7 of float32, .* torch.float64"),
    (tensor(SCALE, torch.ones(7, 1)), f"scales of '{WEIGHT}' must be 7 of float32"),
    (tensor(SCALE, torch.full((7,), float("nan"))), f"scales of '{WEIGHT}' must be finite and not negative"),
    (tensor(SCALE, torch.full((7,), float("inf"))), f"scales of '{WEIGHT}' must be finite and not negative"),
    (tensor(SCALE, torch.full((7,), -1.0)), f"scales of '{WEIGHT}' must be finite and not negative"),
    (tensor("growl.scale.17.layer.bias", torch.ones(7)), "'growl.scale.17.layer.bias' are scales of no int8 weight"),
    (tensor("growl.scale.1.weight", torch.ones(8)), "'growl.scale.1.weight' are scales of no int8 weight"),
    (tensor("growl.scale.", torch.ones(8)), "'growl.scale.' are scales of no int8 weight"),
    (lambda data, tensors, header: tensors[WEIGHT].fill_(-128) is None, f"'{WEIGHT}' holds −128"),
    (
        lambda data, tensors, header: tensors.update({WEIGHT: tensors[WEIGHT].float()}),
        "are scales of no int8 weight of this network",
    ),
    (
        lambda data, tensors, header: tensors.update({WEIGHT: tensors[WEIGHT].to(torch.int16)}),
        f"'{WEIGHT}' must be torch.float32, the file's is torch.int16",
    ),
    (
        lambda data, tensors, header: tensors.update({WEIGHT: tensors[WEIGHT][:, 1:].clone()}),
        f"'{WEIGHT}' must have shape",
    ),
]


@pytest.mark.parametrize("number", range(len(INT8_FAULTS)))
def test_every_fault_of_int8_has_its_message(number: int, good_int8: bytes, tmp_path: Path) -> None:
    change, message = INT8_FAULTS[number]
    refused(changed(good_int8, change), tmp_path / "f", message)


STORED_1 = (Path(__file__).parent / "data" / "compact_v1.safetensors").read_bytes()
FAULTS_1: list[tuple[Change, str]] = [
    (labels(torch.ones(7, dtype=torch.uint8)), "layer '4': 6 inputs arrive, but it has 7 labels"),
    (labels(torch.ones(6)), "layer '4': labels must be a list of uint8, int16 or int32"),
    (labels(torch.full((6,), -5, dtype=torch.int32)), "label -6, outside"),
    (kept_1(torch.zeros(1, dtype=torch.uint8)), "layer '0': the mask of kept outputs is empty"),
    (kept_1(torch.zeros(2, dtype=torch.uint8)), "layer '0': the mask of kept outputs must be 1 bytes"),
    (tensor("growl.kept.1", torch.full((2,), 255, dtype=torch.uint8)), "names more than 12"),
    (kept_1(torch.full((1,), 255, dtype=torch.uint8)), "layer '4': 8 inputs arrive, but it has 6 labels"),
    (head(version="2.0"), "header has no checksum 'crc32'"),
]


@pytest.mark.parametrize("number", range(len(FAULTS_1)))
def test_every_fault_of_version_1_has_its_message(number: int, tmp_path: Path) -> None:
    change, message = FAULTS_1[number]
    refused(changed(STORED_1, change), tmp_path / "f", message)


def test_what_a_newer_minor_version_adds_is_never_passed_over(good: bytes, tmp_path: Path) -> None:
    def newer(data: dict[str, Any], tensors: Any, header: dict[str, str]) -> None:
        header["version"] = "2.7"

    load(write_changed(good, tmp_path / "f", newer), vgg())  # nothing of it is used: it is read

    def with_field(data: dict[str, Any], tensors: Any, header: dict[str, str]) -> None:
        newer(data, tensors, header)
        data["layers"][1]["residual"] = 3

    message = r"layer '4' .* unknown fields \['residual'\] \(the file is of version 2.7, this torch-growl knows 2.0"
    refused(changed(good, with_field), tmp_path / "f", message)


def test_the_checksum_is_read_strictly(good: bytes, tmp_path: Path) -> None:
    value = split(good)[0]["crc32"]
    field = f'"crc32":"{value}"'.encode()
    for wrong in (value[:-1] + "g", "", "0" * 9, value.replace(value[0], "+")):
        data = good.replace(field, f'"crc32":"{wrong}"'.encode())
        header = struct.pack("<Q", struct.unpack("<Q", good[:8])[0] + len(wrong) - 8)
        refused(header + data[8:], tmp_path / "f", "no checksum 'crc32' of eight hexadecimal digits")
    spaced = good.replace(field, f'"crc32": "{value}"'.encode()).replace(b"  ", b" ", 1)
    refused(spaced, tmp_path / "f", "must stand there once, without blanks|damaged")
    other = f"{int(value, 16) ^ 1:08x}"
    message = f"damaged: its checksum is {value}, the header says {other}"
    refused(good.replace(field, f'"crc32":"{other}"'.encode()), tmp_path / "f", message)


def test_the_good_files_are_good(good: bytes, good_int8: bytes, tmp_path: Path) -> None:
    for data in (good, good_int8, STORED_1):
        load(write_changed(data, tmp_path / "f", lambda data, tensors, header: None), vgg())


def test_grouped_layers_have_their_own_faults(tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(1, 12), nn.Unflatten(1, (12, 1, 1)), nn.Conv2d(12, 8, 1, groups=2))

    model = build()
    with torch.no_grad():
        model[2].weight[:, 2:] = 0
    save(compact(model, torch.randn(2, 1)), tmp_path / "f")
    good = (tmp_path / "f").read_bytes()
    load(tmp_path / "f", build())
    swapped = encode_labels((2, 3, -1, -1, -1, -1, 0, 1, -1, -1, -1, -1), 4, 2)
    with pytest.raises(FileFormatError, match="input 0 has label 2, outside its group's inputs"):
        load(write_changed(good, tmp_path / "f", tensor("growl.labels.1", swapped)), build())

    def with_kept(data: dict[str, Any], tensors: dict[str, Tensor], header: Any) -> None:
        tensors["growl.set.0"] = encode_set((0, 1), 8)
        data["layers"][1].update(kept=0)

    with pytest.raises(FileFormatError, match="of a grouped layer, groups go with their inputs and outputs"):
        load(write_changed(good, tmp_path / "f", with_kept), build())
    with pytest.raises(FileFormatError, match=r"width must be 1..12 and a multiple of 2"):
        load(write_changed(good, tmp_path / "f", layer(1, width=3)), build())

    def half_a_group(data: dict[str, Any], tensors: dict[str, Tensor], header: Any) -> None:
        tensors["growl.set.0"] = encode_set((0, 1, 2), 8)
        tensors["growl.set.1"] = encode_set((0, 1, 2, 3, 4, 5), 12)
        data["layers"][1].update(groups_left=1, kept=0, arriving=1)

    with pytest.raises(FileFormatError, match="what is left of a grouped layer must be whole groups"):
        load(write_changed(good, tmp_path / "f", half_a_group), build())


def test_another_networks_file_is_refused(good: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(good)
    with pytest.raises(FileFormatError, match="is not a layer of this network"):
        load(tmp_path / "f", MLP())
