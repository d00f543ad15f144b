"""Int8 weights: the bound that is promised, exact zeros, exact products, and what cannot be held."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.support.batteries import LAYERS, Case
from tests.support.compact_battery import NETS, Net, TiedWeight
from tests.support.compact_files import Change, changed, gone, good_file, refused, split, tensor
from tests.support.pruned_networks import zero_and_tie_
from torch_growl.errors import LayerError
from torch_growl.mathematics.clustering.partition import Partition
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.layers import kind_of, rows_of, scale_rows_
from torch_growl.networks.storage.compact_file import load, load_dense, save
from torch_growl.networks.storage.int8 import dequantize, quantize


def by_output(layer: nn.Module, weight: Tensor) -> Tensor:
    return rows_of(layer, "output", weight)


@pytest.mark.parametrize("case", LAYERS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_no_weight_differs_by_more_than_half_a_scale(case: Case, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = case.make().to(dtype)
    scale_rows_(layer, torch.tensor([1.0, 1000.0, 1e-3]).repeat(4)[: case.outputs], "output")
    with torch.no_grad():
        layer.weight[(0,) * layer.weight.ndim] = 0
    stored, scale = quantize(layer, "w")
    assert stored.shape == layer.weight.shape
    assert (stored.dtype, scale.dtype) == (torch.int8, torch.float32)
    assert stored.abs().max() == 127
    found = dequantize(layer, "w", stored, scale)
    assert (found[layer.weight == 0] == 0).all()
    for given_, got, step in zip(
        by_output(layer, layer.weight.detach()).tolist(), by_output(layer, found).tolist(), scale.tolist(), strict=True
    ):
        for a, b in zip(given_, got, strict=True):
            assert abs(Fraction(a) - Fraction(b)) <= Fraction(step) / 2


weights = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False, max_value=2**120, min_value=-(2**120)))


@pytest.mark.slow
@given(weights.filter(bool))
@settings(max_examples=500, deadline=None)
def test_the_bound_holds_for_any_numbers(values: list[float]) -> None:
    layer = nn.Linear(len(values), 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([values]))
    stored, scale = quantize(layer, "w")
    found = dequantize(layer, "w", stored, scale)
    step = Fraction(scale.item())
    for value, number, got in zip(values, stored[0].tolist(), found[0].tolist(), strict=True):
        assert Fraction(got) == number * step  # the product is a float32 number: nothing is rounded on loading
        assert abs(Fraction(value) - Fraction(got)) <= step / 2
        assert value != 0 or got == 0
    assert (scale == 0).all() == (not any(values))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "'0.weight' has NaN or infinite weights, which int8 cannot hold"),
        (float("inf"), "'0.weight' has NaN or infinite weights, which int8 cannot hold"),
        (torch.finfo(torch.float32).max, r"'0.weight' has weights of 3.4e\+38, too large for int8"),
    ],
)
def test_what_int8_cannot_hold_is_refused(value: float, message: str, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight[1, 1] = value
    with pytest.raises(LayerError, match=message):
        save(model, tmp_path / "f", dtype="int8")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS, ids=str)
def test_an_int8_file_keeps_the_structure_and_the_bound(net: Net, tmp_path: Path) -> None:
    model, x = net.trained(), net.input()
    small = compact(model, x)
    save(small, tmp_path / "f", dtype="int8")
    metadata, tensors = split((tmp_path / "f").read_bytes())
    assert metadata["version"] == "2.2"
    loaded = load(tmp_path / "f", net.build())
    state, modules = dict(small.named_parameters()), dict(loaded.named_modules())
    seen = 0
    for name, value in loaded.named_parameters():
        scale = tensors.get(f"growl.scale.{name}")
        if scale is None:
            assert torch.equal(value, state[name]), name
            continue
        seen += 1
        layer = modules[name.rpartition(".")[0]]
        assert kind_of(layer) is not None
        error = by_output(layer, (value.double() - state[name].double()).abs()).amax(1)
        own = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}.get(value.dtype, 0) * value.abs().max().double()
        slack = 1 + 2.0**-40 if value.dtype == torch.float64 else 1  # float64: one division's rounding
        assert (error <= scale.double() / 2 * slack + own).all(), name
    assert seen
    dense = load_dense(tmp_path / "f", net.build())
    for name, layer in model.named_modules():
        if kind_of(layer) is not None:
            before, after = rows_of(layer), rows_of(dense.get_submodule(name))
            groups = kind_of(layer).groups(layer)  # every group has output channels, so scales, of its own
            for own, found in zip(before.chunk(groups), after.chunk(groups), strict=True):
                labels = torch.tensor(Partition.from_rows(own).labels)
                labels[(found == 0).all(1)] = -1  # rows whose channel is not made any more
                assert Partition.from_labels(labels).holds(found), name
                assert (found[(own == 0).all(1)] == 0).all()


@pytest.mark.slow
def test_saving_an_int8_network_again_gives_the_same_bytes(tmp_path: Path) -> None:
    net = next(net for net in NETS if net.name == "vgg")
    save(compact(net.trained(), net.input()), tmp_path / "a", dtype="int8")
    save(load(tmp_path / "a", net.build()), tmp_path / "b", dtype="int8")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_shared_weight_is_stored_in_int8_once(tmp_path: Path) -> None:
    save(zero_and_tie_(TiedWeight()), tmp_path / "f", dtype="int8")
    _, tensors = split((tmp_path / "f").read_bytes())
    assert sorted(name for name in tensors if name.startswith("growl.scale")) == [
        "growl.scale.a.weight",
        "growl.scale.c.weight",
    ]
    loaded = load(tmp_path / "f", TiedWeight())
    assert loaded.a.weight is loaded.b.weight


def test_an_embedding_keeps_its_type(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.LayerNorm(4), nn.Linear(4, 10, bias=False))
    model[2].weight = model[0].weight
    save(model, tmp_path / "f", dtype="int8")
    _, tensors = split((tmp_path / "f").read_bytes())
    assert {name: value.dtype for name, value in tensors.items()} == dict.fromkeys(
        ["0.weight", "1.weight", "1.bias"], torch.float32
    )


def test_int8_is_a_quarter_of_float32(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(400, 300), nn.ReLU(), nn.Linear(300, 10))
    sizes = {}
    for dtype in ("float32", "bfloat16", "int8"):
        save(model, tmp_path / "f", dtype=dtype)
        sizes[dtype] = (tmp_path / "f").stat().st_size
    elements = sum(p.numel() for p in model.parameters())
    assert 4 * elements < sizes["float32"] < 4 * elements + 800
    assert 2 * elements < sizes["bfloat16"] < 2 * elements + 800
    assert elements < sizes["int8"] < elements + 3 * 310 + 4 * 310 + 1000


def test_scales_have_seventeen_bits() -> None:
    torch.manual_seed(0)
    _, scale = quantize(nn.Linear(20, 500), "w")
    mantissa, _ = np.frexp(scale.double().numpy())
    assert (mantissa * 2**17 == np.round(mantissa * 2**17)).all()


SCALE, WEIGHT = "growl.scale.17.layer.weight", "17.layer.weight"
INT8_FAULTS: list[tuple[Change, str]] = [
    (gone("tensors", SCALE), f"'{WEIGHT}' must be torch.float32, the file's is torch.int8 without its scales"),
    (tensor(SCALE, torch.ones(8)), f"scales of '{WEIGHT}' must be 7 of float32, the file's are \\(8,\\)"),
    (tensor(SCALE, torch.ones(7).double()), f"scales of '{WEIGHT}' must be 7 of float32, .* torch.float64"),
    (tensor(SCALE, torch.ones(7, 1)), f"scales of '{WEIGHT}' must be 7 of float32"),
    (tensor(SCALE, torch.full((7,), float("nan"))), f"scales of '{WEIGHT}' must be finite and not negative"),
    (tensor(SCALE, torch.full((7,), float("inf"))), f"scales of '{WEIGHT}' must be finite and not negative"),
    (tensor(SCALE, torch.full((7,), -1.0)), f"scales of '{WEIGHT}' must be finite and not negative"),
    (tensor("growl.scale.17.layer.bias", torch.ones(7)), "'growl.scale.17.layer.bias' belongs to no int8 weight"),
    (tensor("growl.scale.1.weight", torch.ones(8)), "'growl.scale.1.weight' belongs to no int8 weight"),
    (tensor("growl.scale.", torch.ones(8)), "'growl.scale.' belongs to no int8 weight"),
    (lambda data, tensors, header: tensors[WEIGHT].fill_(-128) is None, f"'{WEIGHT}' holds −128"),
    (
        lambda data, tensors, header: tensors.update({WEIGHT: tensors[WEIGHT].float()}),
        "belongs to no int8 weight of this network",
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
def test_every_fault_of_int8_has_its_message(number: int, tmp_path: Path) -> None:
    change, message = INT8_FAULTS[number]
    refused(changed(good_file("int8"), change), tmp_path / "f", message)
