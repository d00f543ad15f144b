"""``save_pretrained`` of a tied or compact network warns, and says what to do; of a plain one it does not."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import torch_growl as tg
from torch_growl.errors import GrowlWarning


class Pretrained(nn.Module):
    """A network with the method of transformers' networks."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        return self.b(self.a(x).relu())

    def save_pretrained(self, folder: Path) -> str:
        torch.save(self.state_dict(), folder / "weights")
        return "saved"


def pruned() -> Pretrained:
    model = Pretrained()
    with torch.no_grad():
        model.b.weight[:, 4:] = 0
    return model


def silent(model: Any, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.save_pretrained(folder) == "saved"


def test_of_a_tied_network_it_warns_until_it_is_untied(tmp_path: Path) -> None:
    model = pruned()
    silent(model, tmp_path)
    tg.tie_(model, tg.find_tying(model, ["a"]))
    for network in (model, copy.deepcopy(model)):
        with pytest.warns(GrowlWarning, match=r"loads as random weights.*untie_\(.*\)\.save_pretrained") as caught:
            assert network.save_pretrained(tmp_path) == "saved"
        assert caught[0].filename == __file__
    twin = copy.deepcopy(model)
    assert twin.save_pretrained.model is twin
    silent(tg.untie_(model), tmp_path)


def test_of_a_compact_network_it_warns_after_load_too(tmp_path: Path) -> None:
    model, x = pruned(), torch.randn(4, 12)
    small = tg.compact(model, x)
    tg.save(small, tmp_path / "f")
    for network in (small, tg.load(tmp_path / "f", Pretrained()), tg.compact_like(model, small)):
        with pytest.warns(GrowlWarning, match=r"from_pretrained does not load.*save\(small, path\)"):
            network.save_pretrained(tmp_path)
    silent(model, tmp_path)
    silent(tg.load_dense(tmp_path / "f", Pretrained()), tmp_path)


def test_a_tied_network_that_is_compacted_has_the_warning_of_compact_networks(tmp_path: Path) -> None:
    model = pruned()
    tg.tie_(model, tg.find_tying(model, ["a", "b"], method="none"))
    small = tg.compact(model, torch.randn(4, 12))
    with pytest.warns(GrowlWarning, match="from_pretrained does not load"):
        small.save_pretrained(tmp_path)


def test_networks_inside_others_warn(tmp_path: Path) -> None:
    model = nn.Sequential(pruned(), nn.Linear(3, 2))
    tg.tie_(model, tg.find_tying(model, ["0.a"]))
    with pytest.warns(GrowlWarning, match="loads as random weights"):
        model[0].save_pretrained(tmp_path)


@pytest.mark.slow
def test_a_tied_network_of_transformers_warns_and_its_advice_is_right(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 96}
    model = transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=60, **sizes)).eval()
    ids = torch.randint(0, 60, (2, 8))
    tg.tie_(model, tg.find_tying(model))
    wanted = model(ids).logits
    with pytest.warns(GrowlWarning, match="loads as random weights"):
        model.save_pretrained(tmp_path / "tied")
    tg.untie_(copy.deepcopy(model)).save_pretrained(tmp_path / "untied")
    again = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "untied").eval()
    torch.testing.assert_close(again(ids).logits, wanted)
