"""Encoding structures: each field has its place, each set is stored once, and bytes are counted as stored."""

from __future__ import annotations

import json
from dataclasses import fields

import torch

from tests.support.compact_battery import vgg
from tests.support.compact_files import good_file, split
from torch_growl.networks.compaction.structure import AttributeChange, LayerCut, ParameterCut, Structure
from torch_growl.networks.storage.bit_packing import decode_labels, decode_set
from torch_growl.networks.storage.decoding import decode
from torch_growl.networks.storage.encoding import OPTIONAL, REQUIRED, encode, packed_bytes


def test_every_field_of_a_layer_has_its_place_in_the_file() -> None:
    """A new field of LayerCut needs one before it can be saved."""
    assert {field.name for field in fields(LayerCut)} == {*REQUIRED, *OPTIONAL, "labels", "kept", "arriving"}


def test_a_structure_is_written_as_in_the_format() -> None:
    kept = (0, 2, 3)
    structure = Structure(
        (
            LayerCut("a", 6, 4, labels=(0, -1, 1, 0, -1, 1), width=2, kept=kept, form="full"),
            LayerCut("b", 4, 5, width=3, arriving=kept, reason="why"),
        ),
        (
            ParameterCut("n", ("weight", "bias", "running_mean", "running_var"), 0, 4, kept),
            ParameterCut("e", ("weight",), 1, 4, kept),
        ),
        (AttributeChange("n", "num_features", 4, 3), AttributeChange("h", "heads", 4, 3)),
    )
    text, tensors = encode(structure)
    assert json.loads(text) == {
        "layers": [
            {"name": "a", "inputs": 6, "outputs": 4, "width": 2, "form": "full", "kept": 0},
            {"name": "b", "inputs": 4, "outputs": 5, "width": 3, "reason": "why", "arriving": 0},
        ],
        "parameters": [
            {"module": "n", "size": 4, "kept": 0},
            {"module": "e", "size": 4, "kept": 0, "names": ["weight"], "dim": 1},
        ],
        "attributes": [{"module": "h", "name": "heads", "before": 4, "after": 3}],  # num_features follows from "n"
    }
    assert set(tensors) == {"growl.set.0", "growl.labels.0"}
    assert decode_set(tensors["growl.set.0"], 4, "x") == kept
    assert decode_labels(tensors["growl.labels.0"], 6, 2, 1, "x") == (0, -1, 1, 0, -1, 1)


def test_packed_bytes_are_those_in_the_file() -> None:
    metadata, tensors = split(good_file())
    own = {name: value for name, value in tensors.items() if name.startswith("growl.")}
    assert len(own) == 10
    assert all(value.dtype == torch.uint8 for value in own.values())
    structure = decode(metadata["structure"], dict(own), vgg())
    assert packed_bytes(structure) == sum(len(value) for value in own.values())
