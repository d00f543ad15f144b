"""Compact files of version 1 are loaded, or refused with their faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.compact_battery import vgg
from tests.support.compact_files import (
    Change,
    changed,
    gone,
    head,
    kept_1,
    labels,
    layer,
    refused,
    split,
    tensor,
)
from tests.support.stored_network import stored_network
from torch_growl.errors import FileFormatError
from torch_growl.networks.compaction.structure import structure_of
from torch_growl.networks.storage.compact_file import load, load_dense, save
from torch_growl.networks.storage.version_1 import decode


def test_a_file_of_version_1_loads(tmp_path: Path) -> None:
    """The file was written by version 1's code; the network and the file itself say what loading must give."""
    path = Path(__file__).parent / "data" / "compact_v1.safetensors"
    metadata, tensors = split(path.read_bytes())
    assert metadata["version"] == "1"
    loaded, dense, x = load(path, vgg().eval()), load_dense(path, vgg().eval()), torch.randn(2, 3, 8, 8)
    state = loaded.state_dict()
    assert set(state) == {name for name in tensors if not name.startswith("growl.")}
    assert all(torch.equal(value, tensors[name]) for name, value in state.items())
    for number, found in enumerate(structure_of(loaded).layers):
        if f"growl.labels.{number}" in tensors:
            assert found.labels == tuple(label - 1 for label in tensors[f"growl.labels.{number}"].tolist())
    with torch.no_grad():
        wanted, *others = (model(x) for model in (stored_network(), loaded, dense))
    for y in others:
        assert (y - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    save(loaded, tmp_path / "f")
    assert split((tmp_path / "f").read_bytes())[0]["version"] == "2.2"
    assert structure_of(load(tmp_path / "f", vgg())) == structure_of(loaded)
    assert (tmp_path / "f").stat().st_size < path.stat().st_size


def norm(number: int, **fields: Any) -> Change:
    """Change fields of an entry of the normalisations."""
    return lambda data, tensors, header: data["norms"][number].update(fields)


STORED_1 = (Path(__file__).parent / "data" / "compact_v1.safetensors").read_bytes()
FAULTS_1: list[tuple[Change, str]] = [
    (layer(1, source=[]), r"layer '4': source must be the name of a layer, got \[\]"),
    (labels(torch.ones(7, dtype=torch.uint8)), "layer '4': 6 inputs arrive, but it has 7 labels"),
    (labels(torch.ones(6)), "layer '4': labels must be a list of uint8, int16 or int32"),
    (labels(torch.full((6,), -5, dtype=torch.int32)), "label -6, outside"),
    (kept_1(torch.zeros(1, dtype=torch.uint8)), "layer '0': the mask of kept outputs is empty"),
    (kept_1(torch.zeros(2, dtype=torch.uint8)), "layer '0': the mask of kept outputs must be 1 bytes"),
    (tensor("growl.kept.1", torch.full((2,), 255, dtype=torch.uint8)), "names more than 12"),
    (kept_1(torch.full((1,), 255, dtype=torch.uint8)), "layer '4': 8 inputs arrive, but it has 6 labels"),
    (layer(1, op="exec"), r"layer '4' of the structure has unknown fields \['op'\]"),
    (layer(1, kept=0), r"layer '4' of the structure has unknown fields \['kept'\]"),
    (layer(1, source="nowhere"), "layer '4': its source must be a layer with removed output channels that make its 8"),
    (layer(1, source="17"), "layer '4': its source must be a layer with removed output channels that make its 8"),
    (layer(1, block=2), "layer '4': its source must be a layer with removed output channels that make its 8"),
    (layer(1, block="1"), "layer '4': its source must be a layer with removed output channels that make its 8"),
    (norm(0, source="17"), "normalisation '1': its source must be a layer .* that make its 8 inputs"),
    (norm(0, source=3), "normalisation '1': its source must be a layer .* that make its 8 inputs"),
    (norm(0, features=9), "normalisation '1': the file is for 9 features, this network's has 8"),
    (norm(0, name="4"), "normalisation '4' of the file is not a normalisation of this network"),
    (norm(0, name=[]), r"normalisation .* of the file is not a normalisation of this network"),
    (norm(0, op="exec"), "normalisation '1' of the file .* has other fields"),
    (
        lambda data, tensors, header: data["norms"].append(data["norms"][0]),
        "a normalisation is in the structure twice",
    ),
    (
        lambda data, tensors, header: data["layers"].append({**data["layers"][0], "width": 3}),
        "layer '0' is in the structure twice",
    ),
    (gone("data", "norms"), "must be an object with the fields layers, norms"),
    (head(version="2.0"), "header has no checksum 'crc32'"),
]


@pytest.mark.parametrize("number", range(len(FAULTS_1)))
def test_every_fault_of_version_1_has_its_message(number: int, tmp_path: Path) -> None:
    change, message = FAULTS_1[number]
    refused(changed(STORED_1, change), tmp_path / "f", message)


@pytest.mark.parametrize(("part", "message"), [("kept", "have removed output"), ("source", "read removed")])
def test_grouped_layers_could_not_be_cut(part: str, message: str) -> None:
    layers = [
        {"name": "0", "inputs": 1, "outputs": 4, "width": 1},
        {"name": "1", "inputs": 4, "outputs": 8, "width": 4, "groups": 2},
    ]
    tensors = {"growl.kept.0": torch.tensor([7], dtype=torch.uint8)}
    if part == "kept":
        tensors["growl.kept.1"] = torch.tensor([15], dtype=torch.uint8)
    else:
        layers[1]["source"] = "0"
    text = json.dumps({"layers": layers, "norms": []})
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 8, 1, groups=2))
    with pytest.raises(FileFormatError, match=f"layer '1': a grouped layer cannot {message} channels"):
        decode(text, tensors, model)
