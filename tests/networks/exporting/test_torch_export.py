"""Exports to ``torch.export`` programs, loaded again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import torch_growl as tg
from tests.support.exported_networks import compact_conv


@pytest.mark.slow
def test_a_program_is_loaded_without_this_package(tmp_path: Path) -> None:
    small, x = compact_conv()
    written = tg.export_program(small, x, tmp_path / "small.pt2")
    assert written.dynamic_batch
    data = written.path.read_bytes()
    assert str(Path(tg.__file__).parent).encode() not in data
    assert str(Path(__file__).parent).encode() not in data
    assert x.numpy().tobytes() not in data
    torch.save({"x": x, "y": small(x).detach()}, tmp_path / "pair.pt")
    code = (
        "import sys, torch\n"
        f"pair = torch.load({str(tmp_path / 'pair.pt')!r})\n"
        f"network = torch.export.load({str(written.path)!r}).module()\n"
        "torch.testing.assert_close(network(pair['x']), pair['y'])\n"
        "torch.testing.assert_close(network(pair['x'][:1]), pair['y'][:1])\n"
        "assert not any(name.startswith('torch_growl') for name in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
