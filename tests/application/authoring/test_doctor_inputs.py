"""``growl doctor``: a recipe, a run or a function with the shapes of its inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.growl_command import growl
from torch_growl.application.authoring.doctor_inputs import network_and_example, parse_shape
from torch_growl.application.runs.run import Run
from torch_growl.errors import InvalidTypeError, InvalidValueError

FUNCTION = "torch_growl.application.models.registry:digits_mlp"


@pytest.mark.slow
def test_a_function_and_a_recipe_of_one_network_have_the_same_table(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, of_function, err = growl(capsys, "doctor", FUNCTION, "--input", "1,64")
    assert status == 0, err
    Path("as_they_are.yaml").write_text("extends: digits\nmodel: {name: digits_mlp}\ndata: {name: digits}\n")
    status, of_recipe, err = growl(capsys, "doctor", "as_they_are.yaml")
    assert status == 0, err
    for out in (of_function, of_recipe):
        assert [name for name in ("fc1", "fc2", "fc3") if f"\n{name} " in out] == ["fc1", "fc2", "fc3"]
        assert "51,410 weights, 50,200 MACs at batch 1" in out
    assert "left out by default: the network's last layer" in of_function  # fc3; the recipe asks for all layers
    assert "left out" not in of_recipe


@pytest.mark.slow
def test_a_run_brings_its_network_example_layers_and_side(finished_run: Run) -> None:
    network, example, layers, side = network_and_example(str(finished_run.folder.path), [], None)
    assert network.state_dict().keys() == finished_run.network().state_dict().keys()
    assert torch.equal(example, finished_run.example())
    assert (layers, side) == (("fc1", "fc2", "fc3"), "input")


def test_a_shape_is_an_input_of_that_shape_and_type() -> None:
    assert (parse_shape("1,3,32,32").shape, parse_shape("2,4").dtype) == ((1, 3, 32, 32), torch.float32)
    tokens = parse_shape("1,16:int64")
    assert torch.equal(tokens, torch.zeros(1, 16, dtype=torch.int64))


@pytest.mark.parametrize("text", ["1,x", "", "1,0", "1,16:nn"])
def test_a_shape_of_another_form_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidValueError, match="must look like 1,3,32,32 or 1,16:int64"):
        parse_shape(text)
    status, _, err = growl(capsys, "doctor", FUNCTION, "--input", text)
    assert (status, "1,16:int64" in err, len(err.strip().splitlines())) == (2, True, 1)


def test_input_is_needed_with_a_function_and_refused_with_a_recipe() -> None:
    with pytest.raises(InvalidValueError, match="needs --input, for instance --input 1,3,32,32"):
        network_and_example(FUNCTION, [], None)
    with pytest.raises(InvalidValueError, match="--input is for package.module:function"):
        network_and_example("digits", ["1,64"], None)


def test_a_function_that_fails_or_gives_no_module_is_named() -> None:
    with pytest.raises(InvalidTypeError, match="MODEL = 'torch:zeros': calling it failed: zeros"):
        network_and_example("torch:zeros", ["1"], None)
    with pytest.raises(InvalidTypeError, match="MODEL = 'builtins:dict': must return a torch.nn.Module, got dict"):
        network_and_example("builtins:dict", ["1"], None)
