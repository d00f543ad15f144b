"""The program beside the compact file: it gives the outputs of the loaded network, without the network's class."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tests.support.compact_battery import MLP, NETS, Net, Untraceable, vgg
from tests.support.pruned_networks import zero_and_tie_
from torch_growl.errors import ExportError, FileFormatError, GrowlWarning, InvalidValueError
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.storage.compact_file import load, save
from torch_growl.networks.storage.program import load_program

CHOSEN = ("mlp", "mlp-bfloat16", "vgg-channels-last", "grouped", "residual", "fan-out", "attention")


def close(found: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    for a, b in zip(pytree.tree_leaves(found), pytree.tree_leaves(wanted), strict=True):
        assert a.dtype == b.dtype
        assert (a - b).abs().max() <= tolerance * b.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("net", [net for net in NETS if net.name in CHOSEN], ids=str)
def test_the_program_gives_the_small_networks_outputs_at_any_batch_size(net: Net, tmp_path: Path) -> None:
    small = compact(net.trained(), net.input())
    before = {name: value.clone() for name, value in small.state_dict().items()}
    save(small, tmp_path / "model.safetensors", example_inputs=net.input())
    assert sorted(os.listdir(tmp_path)) == ["model.pt2", "model.safetensors"]
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())
    assert small.training
    program = load_program(tmp_path / "model.pt2")
    assert isinstance(program, nn.Module)
    for size in (1, 2, 7):
        x = torch.cat([net.input()] * 4)[:size]
        with torch.no_grad():
            close(program(x), small.eval()(x), 1e-2 if net.dtype == torch.bfloat16 else 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["int8", "bfloat16"])
def test_the_program_is_of_the_network_as_stored_not_before_rounding(dtype: str, tmp_path: Path) -> None:
    small, x = compact(zero_and_tie_(MLP()), torch.randn(5, 20)).eval(), torch.randn(5, 20)
    save(small, tmp_path / "m.safetensors", dtype=dtype, example_inputs=x)
    loaded, program = load(tmp_path / "m.safetensors", MLP()).eval(), load_program(tmp_path / "m.safetensors")
    with torch.no_grad():
        close(program(x), loaded(x))
        assert (program(x) - small(x)).abs().max() > 1e-4 * small(x).abs().max()


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, scale: Tensor, twice: bool = False) -> Tensor:
        return self.b(torch.relu(self.a(x))) * scale * (2 if twice else 1)


def test_inputs_by_name_and_ones_without_a_batch(tmp_path: Path) -> None:
    model = Named().eval()
    given: dict[str, Any] = {"x": torch.randn(3, 4), "scale": torch.tensor(2.0), "twice": True}
    save(model, tmp_path / "a.safetensors", example_inputs=given)
    save(model, tmp_path / "b.safetensors", example_inputs=(given["x"], given["scale"]))
    x = torch.randn(6, 4)
    with torch.no_grad():
        close(load_program(tmp_path / "a.pt2")(x=x, scale=given["scale"], twice=True), model(x, given["scale"], True))
        close(load_program(tmp_path / "b.pt2")(x, given["scale"]), model(x, given["scale"]))


class OneSize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x).reshape(2, -1, 8)[0]


class FewOnly(nn.Module):
    """Traced for any batch size, it gives other outputs for more than four examples."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) * (2 if not torch.compiler.is_exporting() and len(x) > 4 else 1)


class Scalar(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 8)

    def forward(self, scale: Tensor, x: Tensor) -> Tensor:
        return self.a(x) * scale


FIXED: dict[str, tuple[nn.Module, tuple[Tensor, ...], str]] = {
    "another size cannot be traced": (
        OneSize(),
        (torch.randn(4, 4),),
        "fixed at 4: torch.export cannot trace another one: ",
    ),
    "another size gives other outputs": (
        FewOnly(),
        (torch.randn(4, 4),),
        "fixed at 4: the outputs in torch.export",
    ),
    "no batch dimension": (
        Scalar(),
        (torch.tensor(2.0), torch.randn(4, 4)),
        "fixed at that of example_inputs: they have no",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIXED)
def test_a_fixed_batch_size_gives_a_warning(name: str, tmp_path: Path) -> None:
    model, inputs, message = FIXED[name]
    with pytest.warns(GrowlWarning, match=message) as said:
        save(model.eval(), tmp_path / "m.safetensors", example_inputs=inputs)
    assert [warning.filename for warning in said] == [__file__]
    with torch.no_grad():
        close(load_program(tmp_path / "m.pt2")(*inputs), model(*inputs))


def test_what_cannot_be_exported_writes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ExportError, match="torch.export cannot trace the network: .*(data-dependent|control flow)"):
        save(Untraceable(), tmp_path / "m.safetensors", example_inputs=torch.randn(3, 8))
    with pytest.raises(ExportError, match="the network does not run on inputs of batch size 3: "):
        save(MLP(), tmp_path / "m.safetensors", example_inputs=torch.randn(3, 8))
    assert not os.listdir(tmp_path)
    assert "def forward" not in "".join(capfd.readouterr())


def test_a_program_of_another_compact_file_is_refused(tmp_path: Path) -> None:
    x = torch.randn(3, 20)
    save(MLP(), tmp_path / "m.safetensors", example_inputs=x)
    with pytest.warns(GrowlWarning, match="m.pt2 belongs to an earlier save and was not changed"):
        save(MLP(), tmp_path / "m.safetensors")
    for name in ("m.pt2", "m.safetensors"):
        with pytest.raises(FileFormatError, match="m.pt2 belongs to another compact file than .*m.safetensors"):
            load_program(tmp_path / name)
    (tmp_path / "m.safetensors").unlink()
    assert load_program(tmp_path / "m.pt2")(x).shape == (3, 5)
    with pytest.raises(InvalidValueError, match="call the compact file NAME.safetensors"):
        save(MLP(), tmp_path / "m.pt2")


def test_a_program_holds_no_paths_and_no_source_lines(tmp_path: Path) -> None:
    save(
        compact(zero_and_tie_(MLP()), torch.randn(3, 20)), tmp_path / "m.safetensors", example_inputs=torch.randn(3, 20)
    )
    with zipfile.ZipFile(tmp_path / "m.pt2") as archive:
        for name in archive.namelist():
            text = name.encode() + archive.read(name)
            assert not any(part in text for part in (b".py", b".tmp", str(tmp_path).encode())), name


def test_an_interrupted_save_leaves_both_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(MLP(), tmp_path / "m.safetensors", example_inputs=torch.randn(3, 20))
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}

    def fails(source: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("torch_growl.files.os.replace", fails)
    with pytest.raises(OSError, match="disk full"):
        save(MLP(), tmp_path / "m.safetensors", example_inputs=torch.randn(3, 20))
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_a_save_interrupted_between_its_two_files_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(MLP(), tmp_path / "m.safetensors", example_inputs=torch.randn(3, 20))
    before = (tmp_path / "m.safetensors").read_bytes()
    replace = os.replace

    def fails(source: Path, target: Path) -> None:
        if target.suffix != ".pt2":
            raise OSError("disk full")
        replace(source, target)

    monkeypatch.setattr("torch_growl.files.os.replace", fails)
    with pytest.raises(OSError, match="disk full"):
        save(MLP(), tmp_path / "m.safetensors", example_inputs=torch.randn(3, 20))
    assert (tmp_path / "m.safetensors").read_bytes() == before
    with pytest.raises(FileFormatError, match="m.pt2 belongs to another compact file than .*m.safetensors"):
        load_program(tmp_path / "m.safetensors")


@pytest.mark.slow
def test_a_changed_bit_anywhere_in_a_program_is_refused_or_changes_no_output(tmp_path: Path) -> None:
    x = torch.randn(3, 20)
    save(MLP(), tmp_path / "m.safetensors", example_inputs=x)
    good = (tmp_path / "m.pt2").read_bytes()
    expected, chance, accepted = load_program(tmp_path / "m.pt2")(x), random.Random(0), 0
    places = [chance.randrange(8 * len(good)) for _ in range(300)]
    ends = range(8 * (len(good) - 60), 8 * len(good), 7)  # the end of an archive has no other checksum
    for bit in [*places, *ends]:
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        (tmp_path / "m.pt2").write_bytes(data)
        try:
            assert torch.equal(load_program(tmp_path / "m.pt2")(x), expected)
            accepted += 1
        except FileFormatError:
            pass
    assert accepted < 25  # bits of the words before the checksum alone


def test_a_program_of_another_writer_is_read_and_its_members_checked(tmp_path: Path) -> None:
    """torch itself does not look at the checksums of an archive's members."""
    model, x = MLP().eval(), torch.randn(3, 20)
    torch.export.save(torch.export.export(model, (x,)), tmp_path / "m.pt2")
    close(load_program(tmp_path / "m.pt2")(x), model(x).detach())
    data, weights = (tmp_path / "m.pt2").read_bytes(), next(model.parameters()).detach().numpy().tobytes()
    assert weights in data
    (tmp_path / "m.pt2").write_bytes(data.replace(weights, weights[::-1]))
    with pytest.raises(FileFormatError, match=r"m.pt2: damaged: the checksum of its member '.*' differs"):
        load_program(tmp_path / "m.pt2")


def test_files_that_are_not_programs_are_refused(tmp_path: Path) -> None:
    save(MLP(), tmp_path / "m.safetensors", example_inputs=torch.randn(3, 20))
    good = (tmp_path / "m.pt2").read_bytes()
    with pytest.raises(FileFormatError, match="there is no such file; save"):
        load_program(tmp_path / "other.pt2")
    for data in (b"", b"PK\x03\x04", good[: len(good) // 2], good[:-40], random.Random(0).randbytes(500)):
        (tmp_path / "m.pt2").write_bytes(data)
        with pytest.raises(FileFormatError, match="m.pt2: not a zip archive, or a damaged one"):
            load_program(tmp_path / "m.pt2")


@pytest.mark.slow
def test_another_process_without_the_class_runs_the_program(tmp_path: Path) -> None:
    small, x = compact(zero_and_tie_(vgg(), 4), torch.randn(2, 3, 8, 8)).eval(), torch.randn(3, 3, 8, 8)
    save(small, tmp_path / "m.safetensors", example_inputs=x)
    torch.save(x, tmp_path / "x.pt")
    code = (
        "import sys, torch\n"
        "x = torch.load('x.pt', weights_only=True)\n"
        "y = torch.export.load('m.pt2').module()(x)\n"
        "assert not any('growl' in name for name in sys.modules)\n"
        "torch.save(y.detach(), 'y.pt')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
    with torch.no_grad():
        close(torch.load(tmp_path / "y.pt", weights_only=True), small(x))
