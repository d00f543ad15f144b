"""Structures that do not fit: every fault of a file's structure is refused with its message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.compact_battery import MLP, vgg
from tests.support.compact_files import (
    attribute,
    changed,
    cut,
    gone,
    good_file,
    head,
    kept,
    labels,
    layer,
    refused,
    tensor,
    write_changed,
)
from torch_growl.errors import FileFormatError
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.storage.bit_packing import encode_labels, encode_set
from torch_growl.networks.storage.compact_file import load, save

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
    (layer(1, name="0"), r"layer '0': the file is for \(inputs, outputs, groups\) \(8, 12, 1\), .* has \(3, 8, 1\)"),
    (
        lambda data, tensors, header: data["layers"].append({**data["layers"][2], "width": 8}),
        "layer '8' is in the structure twice",
    ),
    (layer(0, source="4"), r"layer '0' of the structure has unknown fields \['source'\]"),
    (layer(0, groups_left=1), "layer '0': groups_left is only for layers of several groups"),
    (layer(1, shares="0"), "layer '4': it cannot share the inputs of '0'"),
    (layer(1, shares="nowhere"), "layer '4': it cannot share the inputs of 'nowhere'"),
    (layer(1, shares=0), "layer '4': shares must be str"),
    (layer(2, arriving=3), "layer '8', arriving: 34 packed bits are left over, or not zero"),
    (layer(1, arriving=99), "layer '4': arriving: the file has no 'growl.set.99'"),
    (layer(1, arriving="0"), "layer '4': arriving must be int"),
    (layer(1, width=0), r"layer '4': width must be 1..6 and a multiple of 1, got 0"),
    (layer(1, width=7), r"layer '4': width must be 1..6"),
    (layer(1, width=3), "layer '4', labels: more inputs are chosen than its width of 3"),
    (gone("tensors", "growl.labels.1"), "layer '4': 6 inputs arrive, but its width is 4 and it has no labels"),
    (labels(torch.ones(6)), "layer '4', labels: packed bits must be a list of uint8, got torch.float32, 1-D"),
    (labels(torch.zeros(2, 2, dtype=torch.uint8)), "layer '4', labels: packed bits must be .* 2-D"),
    (
        labels(torch.zeros(0, dtype=torch.uint8)),
        "layer '4', labels: 2 bits are expected, but the packed bits end after 0",
    ),
    (labels(torch.tensor([3], dtype=torch.uint8)), "layer '4', labels: its labels are in an unknown coding 3"),
    (labels(torch.tensor([12], dtype=torch.uint8)), "layer '4', labels: a set is in an unknown coding 3"),
    (labels(torch.zeros(9, dtype=torch.uint8)), "layer '4', labels: 62 packed bits are left over"),
    (labels(encode_labels((5, 0, 1, 2, 3, 0), 7, 1)), "layer '4': input 0 has label 5, outside its group's inputs"),
    (labels(encode_labels((0, 1, 2, 3, 4, 5), 6, 1)), "layer '4', labels: more inputs are chosen than its width of 4"),
    (labels(encode_labels((0,) * 60, 4, 1)), "layer '4', labels: 164 packed bits are left over, or not zero"),
    (kept(torch.zeros(1, dtype=torch.uint8)), "layer '0', kept: 8 bits are expected, .* end after 6"),
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
        r"'14.bias' must have shape \(16,\), the file's has \(11,\)",
    ),
    (gone("tensors", "17.layer.bias"), "the file has no tensor '17.layer.bias'"),
    (tensor("other", torch.zeros(1)), "the network has no tensor 'other'"),
    (tensor("growl.set.9", torch.zeros(1)), "the network has no tensor 'growl.set.9'"),
    (tensor("17.layer.bias", torch.zeros(8)), r"'17.layer.bias' must have shape \(7,\), the file's has \(8,\)"),
    (tensor("17.layer.bias", torch.zeros(7, dtype=torch.int32)), "'17.layer.bias' must be torch.float32"),
    (tensor("1.num_batches_tracked", torch.tensor(1.0)), "'1.num_batches_tracked' must be torch.int64"),
]


@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_every_fault_has_its_message(number: int, tmp_path: Path) -> None:
    change, message = FAULTS[number]
    refused(changed(good_file(), change), tmp_path / "f", message)


def test_unknown_fields_of_a_newer_minor_version_are_refused(tmp_path: Path) -> None:
    def newer(data: dict[str, Any], tensors: Any, header: dict[str, str]) -> None:
        header["version"] = "2.7"

    load(write_changed(good_file(), tmp_path / "f", newer), vgg())  # nothing of it is used: it is read

    def with_field(data: dict[str, Any], tensors: Any, header: dict[str, str]) -> None:
        newer(data, tensors, header)
        data["layers"][1]["residual"] = 3

    message = r"layer '4' .* unknown fields \['residual'\] \(the file is of version 2.7, this torch-growl knows 2.2"
    refused(changed(good_file(), with_field), tmp_path / "f", message)


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

    with pytest.raises(
        FileFormatError, match="a grouped layer must have all of groups_left, kept and arriving, or none of them"
    ):
        load(write_changed(good, tmp_path / "f", with_kept), build())
    with pytest.raises(FileFormatError, match=r"width must be 1..12 and a multiple of 2"):
        load(write_changed(good, tmp_path / "f", layer(1, width=3)), build())

    def half_a_group(data: dict[str, Any], tensors: dict[str, Tensor], header: Any) -> None:
        tensors["growl.set.0"] = encode_set((0, 1, 2), 8)
        tensors["growl.set.1"] = encode_set((0, 1, 2, 3, 4, 5), 12)
        data["layers"][1].update(groups_left=1, kept=0, arriving=1)

    with pytest.raises(
        FileFormatError, match="kept and arriving must be all outputs and inputs of groups_left whole groups"
    ):
        load(write_changed(good, tmp_path / "f", half_a_group), build())


def test_another_networks_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(good_file())
    with pytest.raises(FileFormatError, match="is not a layer of this network"):
        load(tmp_path / "f", MLP())
