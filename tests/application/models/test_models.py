"""Reference networks: shapes, names, the paper's counts; users' own by name, and what is said when they fail."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from torch_growl.application.models import registry
from torch_growl.application.models.registry import build_network
from torch_growl.application.recipes.entry_points import check_options, load_object
from torch_growl.errors import InvalidValueError, RecipeError

INPUTS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "mlp": ({"sizes": [7, 5, 10]}, (7,)),
    "mnist_mlp": ({}, (784,)),
    "digits_mlp": ({}, (64,)),
    "lenet5": ({"channels": [4, 6], "hidden": 20}, (1, 28, 28)),
    "vgg16": ({"width": 0.05}, (3, 32, 32)),
    "resnet_cifar": ({"depth": 8, "width": 0.5}, (3, 32, 32)),
}


def test_every_built_in_network_is_in_the_table() -> None:
    assert set(INPUTS) == set(registry._BUILTIN)


@pytest.mark.parametrize("name", INPUTS)
def test_a_network_gives_ten_finite_scores_and_depends_on_the_seed_alone(name: str) -> None:
    options, shape = INPUTS[name]
    built = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        built.append(build_network(name, **options).eval())
    scores = [network(torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))) for network in built]
    assert scores[0].shape == (2, 10)
    assert torch.isfinite(scores[0]).all()
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])


def weights(network: nn.Module) -> int:
    """Weights of linear layers and convolutions, without biases and batch normalisation."""
    return sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d))


def test_the_papers_vgg16_has_its_14_977_728_weights() -> None:
    network = build_network("vgg16")
    assert weights(network) == 14_977_728
    names = [name for name, m in network.named_children() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert names == [*(f"conv{i}" for i in range(1, 14)), "fc1", "fc2"]
    assert sum(isinstance(m, nn.MaxPool2d) for m in network) == 5  # type: ignore[attr-defined]


def test_the_papers_mlp_is_784_300_10_with_its_initial_weights() -> None:
    network: Any = build_network("mnist_mlp")
    assert list(dict(network.named_children())) == ["fc1", "relu1", "bn1", "fc2"]
    assert weights(network) == 784 * 300 + 300 * 10
    assert float(network.fc1.weight.detach().std()) == pytest.approx((2 / 300) ** 0.5, rel=0.01)
    assert float(network.fc2.weight.detach().std()) == pytest.approx((2 / 10) ** 0.5, rel=0.05)
    assert torch.equal(network.fc1.bias, torch.full((300,), 0.1))


def test_mlp_names_its_layers_and_can_do_without_normalisation() -> None:
    assert list(dict(registry.mlp([3, 4, 5, 2]).named_children())) == [
        "fc1",
        "relu1",
        "bn1",
        "fc2",
        "relu2",
        "bn2",
        "fc3",
    ]
    assert list(dict(registry.mlp([3, 4, 2], batch_norm=False).named_children())) == ["fc1", "relu1", "fc2"]
    assert [m.out_features for m in registry.digits_mlp() if isinstance(m, nn.Linear)] == [300, 100, 10]


def test_lenet5_is_caffes() -> None:
    network: Any = build_network("lenet5")
    assert weights(network) == 20 * 25 + 50 * 20 * 25 + 800 * 500 + 500 * 10
    assert network.conv2.weight.shape == (50, 20, 5, 5)


def test_resnet_halves_its_size_where_channels_double() -> None:
    network: Any = build_network("resnet_cifar")
    assert sum(p.numel() for p in network.parameters()) == 269_722  # akamaster's ResNet-20
    block = network.layer2[0].eval()
    nn.init.zeros_(block.bn2.weight)  # only the shortcut is left
    x = torch.rand(2, 16, 8, 8)
    y = block(x)
    assert y.shape == (2, 32, 4, 4)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert y[:, :8].abs().sum() + y[:, 24:].abs().sum() == 0


@pytest.mark.parametrize("depth", [20, 56])
def test_resnet_takes_akamasters_weights(depth: int, data_dir: Path) -> None:
    path = data_dir.parent / "pretrained" / f"resnet{depth}-cifar10.safetensors"
    if not path.is_file():
        pytest.skip(f"no pretrained weights: {path.name} is not in pretrained/ beside GROWL_DATA")
    network = build_network("resnet_cifar", depth=depth).eval()
    before = network.conv1.weight.detach().clone()  # type: ignore[union-attr, operator]
    network.load_state_dict(load_file(path), strict=True)
    assert not torch.equal(network.conv1.weight, before)  # type: ignore[arg-type]
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10)


OUT_OF_RANGE: dict[str, tuple[str, dict[str, Any], str]] = {
    "one size": ("mlp", {"sizes": [3]}, "sizes must be two or more whole numbers ≥ 1, got \\[3\\]"),
    "no width": ("mlp", {"sizes": [3, 0, 2]}, "sizes must be two or more whole numbers"),
    "init": ("mlp", {"sizes": [3, 2], "init": "caffe"}, "init must be 'torch' or 'paper', got 'caffe'"),
    "text": ("mlp", {"sizes": "784"}, "sizes must be two or more whole numbers"),
    "one channel": ("lenet5", {"channels": [20]}, "channels must be the widths of two convolutions, got \\[20\\]"),
    "hidden": ("lenet5", {"hidden": 0}, "hidden must be a whole number ≥ 1, got 0"),
    "classes": ("vgg16", {"n_classes": 2.0}, "n_classes must be a whole number ≥ 1, got 2.0"),
    "vgg width": ("vgg16", {"width": 0}, "width must be a number > 0, got 0"),
    "resnet width": ("resnet_cifar", {"width": -1}, "width must be a number > 0, got -1"),
    "depth": ("resnet_cifar", {"depth": 18}, "depth must be 6 n \\+ 2 .*, got 18"),
}


@pytest.mark.parametrize("case", OUT_OF_RANGE)
def test_options_out_of_range_are_refused(case: str) -> None:
    name, options, words = OUT_OF_RANGE[case]
    with pytest.raises(InvalidValueError, match=words):
        build_network(name, **options)


def test_an_unknown_network_is_answered_with_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"model.name = 'vgg': no such network; did you mean 'vgg16'\?"):
        build_network("vgg")
    with pytest.raises(RecipeError, match="there are mlp, mnist_mlp, .* or package.module:function"):
        build_network("nothing_like_it")


def test_options_a_network_does_not_take_are_refused() -> None:
    with pytest.raises(RecipeError, match="model.options: 'vgg16' takes .*width.* but got an unexpected .*'depth'"):
        build_network("vgg16", depth=3)
    with pytest.raises(RecipeError, match="model.options: 'mlp' takes .* missing a required argument: 'sizes'"):
        build_network("mlp")


# ── users' own ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a module of a user into the current folder; forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    written: list[str] = []

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


def test_a_users_network_in_the_current_folder(own_module: Any) -> None:
    own_module(
        "own_networks",
        "from torch import nn\n"
        "class Holder:\n"
        "    @staticmethod\n"
        "    def net(width=3): return nn.Linear(2, width)\n"
        "def wrong(): return 5\n"
        "number = 5\n",
    )
    before = list(sys.path)
    network: Any = build_network("own_networks:Holder.net", width=4)
    assert network.weight.shape == (4, 2)
    assert sys.path == before
    with pytest.raises(RecipeError, match="'own_networks:wrong' must return a torch.nn.Module, got int"):
        build_network("own_networks:wrong")
    with pytest.raises(RecipeError, match="model.options: 'own_networks:wrong' takes \\(\\), but got an unexpected"):
        build_network("own_networks:wrong", width=4)
    with pytest.raises(RecipeError, match="module 'own_networks' has no 'nothing'"):
        load_object("own_networks:nothing", field="model.name")
    with pytest.raises(RecipeError, match="must be a function or a class, got int"):
        load_object("own_networks:number", field="model.name")


@pytest.mark.parametrize("spec", ["module", "module:", ":function", "a b:c", "module:f:g", "os.path/x:f"])
def test_a_name_that_is_no_entry_point(spec: str) -> None:
    with pytest.raises(RecipeError, match="x.y = .* must look like package.module:function"):
        load_object(spec, field="x.y")


def test_modules_that_cannot_be_imported(own_module: Any) -> None:
    own_module("own_broken", "1 / 0\n")
    own_module("own_needy", "import surely_not_installed\n")
    before = list(sys.path)
    with pytest.raises(RecipeError, match="there is no module 'own_absent', neither installed nor in the current"):
        load_object("own_absent.part:f", field="model.name")
    with pytest.raises(RecipeError, match="importing 'own_broken' failed with ZeroDivisionError: division by zero"):
        load_object("own_broken:f", field="model.name")
    with pytest.raises(RecipeError, match="module 'own_needy' needs 'surely_not_installed', not installed"):
        load_object("own_needy:f", field="model.name")
    assert sys.path == before


def test_a_function_without_a_signature_is_left_to_its_call() -> None:
    check_options(type, {"anything": 1}, spec="type", field="model.options")
