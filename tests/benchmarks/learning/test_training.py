"""The training loop of the experiments: resuming, teachers, rising strength, data on a device."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import torch

import torch_growl as tg
from benchmarks.learning.training.cutting import Order, cut_
from benchmarks.learning.training.fitting import Bfloat16, Fit, fit
from benchmarks.learning.training.on_device import DeviceSplit
from benchmarks.learning.training.resuming import fit_resumed
from benchmarks.learning.training.rising import Rise, press, ratios
from benchmarks.learning.training.views import Views, answers_to
from torch_growl.application.data.datasets import TensorSplit, load_cifar10, load_digits_splits
from torch_growl.application.models.convolutional import vgg16
from torch_growl.application.models.perceptrons import digits_mlp
from torch_growl.application.models.residual import resnet_cifar
from torch_growl.application.training.scores import evaluate


@pytest.mark.parametrize("order", ["global", "alike"])
def test_rows_are_cut_at_once_to_the_size_that_a_target_asks(order: Order) -> None:
    torch.manual_seed(0)
    model, x = digits_mlp(), torch.randn(4, 64)
    with torch.no_grad():
        model.fc2.weight[:, :150] *= 0.1
    norms = model.fc2.weight.detach().norm(dim=0)
    cut_(model, tg.Target(weights=0.5), x, ("fc1", "fc2"), order, least=4)
    small, dense = (sum(p.numel() for p in net.parameters()) for net in (tg.compact(model.eval(), x), digits_mlp()))
    assert 0.47 * dense < small <= 0.5 * dense
    kept = (model.fc2.weight != 0).any(dim=0)
    assert norms[kept].min() >= norms[~kept].max()


def test_training_goes_on_from_an_epoch_as_if_it_had_not_stopped() -> None:
    train = load_digits_splits().train
    how = Fit(3, 0.05, schedule="step", step_epochs=2, gamma=0.5)
    states: list[dict[str, object]] = []
    held: list[torch.optim.Optimizer] = []

    def network() -> torch.nn.Module:
        torch.manual_seed(0)
        return digits_mlp()

    whole = network()

    def keep(epoch: int, loss: float) -> None:
        assert math.isfinite(loss)
        state = {"model": whole.state_dict(), "optimizer": held[0].state_dict()}
        states.append(torch.load(_stored(state), weights_only=True))

    fit(whole, train, how, 7, attach=held.append, after_epoch=keep)
    assert [how.rate(epoch) for epoch in (0, 1.9, 2, 2.5)] == [0.05, 0.05, 0.025, 0.025]
    half = network()
    half.load_state_dict(states[0]["model"])  # type: ignore[arg-type]
    fit(half, train, how, 7, first=1, state=states[0]["optimizer"])  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in zip(half.state_dict().values(), whole.state_dict().values(), strict=True))


def test_training_goes_on_from_a_step_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    """Eleven steps of 128 digits are an epoch; a checkpoint is written every four."""
    source = load_digits_splits().train
    steps = len(source) // 128

    class Ends(TensorSplit):
        """A split whose images are shifted at random, and which cannot be read for ever."""

        left = 10_000

        def batch(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> tuple[torch.Tensor, ...]:  # type: ignore[override]
            if not self.left:
                raise InterruptedError
            self.left -= 1
            x, y = super().batch(indices, generator)
            return x + torch.rand(len(x), 1, generator=generator), y

    def trained(file: Path, reads: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = digits_mlp()
        train = Ends(source.x, source.y)  # type: ignore[attr-defined]
        train.left = reads
        return fit_resumed(file, model, train, Fit(2, 0.05), 7, steps_kept=4).state_dict()

    whole = trained(tmp_path / "whole.pt", 10_000)
    for reads in (6, steps + 3):  # after four steps; from there on, after as many steps as are a multiple of four
        with pytest.raises(InterruptedError):
            trained(tmp_path / "parts.pt", reads)
    kept = torch.load(tmp_path / "parts.pt", weights_only=True)
    assert (kept["epoch"], kept["step"]) == divmod((steps + 3) // 4 * 4, steps)
    found = trained(tmp_path / "parts.pt", 10_000)
    assert all(torch.equal(found[key], value) for key, value in whole.items())


def _stored(state: dict[str, object]) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


def test_answers_that_come_with_the_data_teach_as_the_teacher_does() -> None:
    train = load_digits_splits().train
    torch.manual_seed(1)
    teacher = digits_mlp().eval()

    class Answered(TensorSplit):
        def batch(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> tuple[torch.Tensor, ...]:
            x, y = super().batch(indices, generator)
            with torch.no_grad():
                return x, torch.cat([y[:, None].float(), teacher(x)], dim=1)

    found = []
    for split, given in ((train, teacher), (Answered(train.x, train.y), None)):  # type: ignore[attr-defined]
        torch.manual_seed(0)
        found.append(fit(digits_mlp(), split, Fit(1, 0.05, distill=0.5), 7, teacher=given).state_dict())
    torch.testing.assert_close(found[0], found[1])
    torch.manual_seed(0)
    alone = fit(digits_mlp(), train, Fit(1, 0.05), 7).state_dict()
    assert not torch.allclose(alone["fc1.weight"], found[0]["fc1.weight"])


@pytest.mark.slow
def test_a_path_of_rising_strength_ends_at_its_goal() -> None:
    splits = load_digits_splits()
    torch.manual_seed(0)
    model = fit(digits_mlp(), splits.train, Fit(5, 0.05), 0)
    growl = tg.GrOWL(model)
    rise = Rise(2.0, "network", start=0.5, growth=1.2, every=5, look=10)
    passed = press(model, growl, splits.train, Fit(100, 0.05), rise, 0, model)
    assert passed[0]["network"] < 2 <= passed[-1]["network"]
    assert growl.strength == passed[-1]["strength"] > passed[0]["strength"]
    example = splits.test.batch(torch.arange(2))[0]  # type: ignore[attr-defined]
    assert ratios(digits_mlp().eval(), model, example)["network"] == passed[-1]["network"]


@pytest.mark.parametrize("supported", [True, False])
def test_products_are_in_bfloat16_unless_it_is_emulated(supported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    seen = []
    network = torch.nn.Linear(3, 2)
    network.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    assert Bfloat16(network)(torch.randn(4, 3)).dtype == torch.float32
    assert seen == [torch.bfloat16 if supported else torch.float32]


@pytest.mark.slow
def test_crops_are_fixed_and_lie_beside_the_answers_to_them(cifar10: Path) -> None:
    split = load_cifar10(cifar10, limit=32, normalize="channels", padding=4).train
    views = Views(split, 3, seed=5)  # type: ignore[arg-type]
    indices = torch.arange(4)
    seen = [views.view(torch.full((4,), which), indices) for which in range(3)]
    assert not torch.equal(seen[0], seen[1])
    torch.manual_seed(0)
    teacher = resnet_cifar(depth=8, width=0.25).eval()
    answers = answers_to(views, teacher)
    assert answers.shape == (3, 32, 10)
    with torch.inference_mode():
        torch.testing.assert_close(answers[2, :4], Bfloat16(teacher)(seen[2]), rtol=0.05, atol=0.05)
    with pytest.raises(ValueError, match="answers to .2, 32. crops and images were given, not to .3, 32."):
        Views(split, 3, seed=5, logits=answers[:2])  # type: ignore[arg-type]
    x, y = Views(split, 3, seed=5, logits=answers).batch(indices, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert y[:, 0].tolist() == views.y[indices].tolist()
    for i in range(4):
        which = next(k for k in range(3) if torch.equal(seen[k][i], x[i]))
        assert torch.equal(y[i, 1:], answers[which, i])


@pytest.mark.slow
def test_images_on_a_device_are_those_of_the_loader(cifar10: Path) -> None:
    splits = load_cifar10(cifar10, limit=64)
    indices = torch.arange(8)
    plain = DeviceSplit(splits.train, torch.device("cpu")).batch(indices)[0]  # type: ignore[arg-type]
    wanted = splits.train.batch(indices)[0]  # type: ignore[attr-defined]
    assert torch.allclose(plain, wanted, atol=1e-6)
    moved = DeviceSplit(splits.train, torch.device("cpu"), padding=2)  # type: ignore[arg-type]
    first, second = (moved.batch(indices, torch.Generator().manual_seed(seed))[0] for seed in (0, 0))
    assert torch.equal(first, second)
    assert not torch.allclose(first, plain)


@pytest.mark.cuda
def test_a_split_on_a_gpu_is_scored_there() -> None:
    generator = torch.Generator().manual_seed(0)
    split = TensorSplit(
        torch.randint(256, (40, 3, 32, 32), generator=generator, dtype=torch.uint8), torch.arange(40) % 10
    )
    on_gpu, on_cpu = (DeviceSplit(split, torch.device(device), channels=True) for device in ("cuda", "cpu"))
    model = vgg16(width=0.125).eval()
    expected = evaluate(model, on_cpu, torch.device("cpu"))
    assert evaluate(model.cuda(), on_gpu, torch.device("cuda")) == pytest.approx(expected, abs=0.05)
