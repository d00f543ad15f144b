"""The experiments: every command runs end to end on little data, and the page shows what was kept."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import torch_growl as tg
from benchmarks.learning.experiments import curve, decorrelated, lenet5, one_strength, resnet20, table1, table2, ties
from benchmarks.learning.pages import mnist_tables, network_tables, pictures, tables
from benchmarks.learning.training.fitting import Bfloat16, Fit, fit
from benchmarks.learning.training.methods import Budget
from benchmarks.learning.training.on_device import DeviceSplit
from benchmarks.learning.training.rising import Rise, press, ratios
from benchmarks.learning.training.views import Views, answers_to
from torch_growl.application.data.datasets import Splits, TensorSplit, load_cifar10, load_digits_splits, load_mnist
from torch_growl.application.models.registry import digits_mlp, resnet_cifar, vgg16
from torch_growl.application.runs.training import evaluate


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


def _stored(state: dict[str, object]) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


def test_instability_is_the_papers() -> None:
    assert mnist_tables.instability([[1, 1, 0, 0]] * 5) == 0
    assert mnist_tables.instability([[1, 1, 0], [1, 0, 0]]) == pytest.approx(0.25)  # |m − m̄| = ½ of 2 rows in both


def few(splits: Splits) -> Splits:
    """The same with a hundred examples to be tested on."""
    validation, test = (TensorSplit(part.x[:100], part.y[:100]) for part in (splits.validation, splits.test))  # type: ignore[attr-defined]
    return replace(splits, validation=validation, test=test)


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


def test_whitened_inputs_are_uncorrelated(data_dir: Path) -> None:
    splits = load_mnist(data_dir, limit=3000)
    x = decorrelated.whitened(splits).train.x.double()  # type: ignore[attr-defined]
    covariance = torch.cov(x.T)
    spread = covariance.diagonal().clamp_min(1e-9).rsqrt()
    correlation = (covariance * spread[:, None] * spread).fill_diagonal_(0).abs()
    assert correlation[covariance.diagonal() > 0.1].mean() < 0.02
    assert decorrelated.correlation(splits.train.x) > 0.4  # type: ignore[attr-defined]
    assert decorrelated.correlation(x) < 0.3


def test_tying_with_and_without_correlated_inputs_runs(data_dir: Path) -> None:
    splits = few(load_mnist(data_dir, limit=256))
    points = decorrelated.job("pixels", 0, splits, quick=True)
    assert {point["penalty"] for point in points} == set(decorrelated.PENALTIES)
    assert len(points) == 3 + 2 * 2 * 4
    assert {point["groups"] for point in points} == {None, *decorrelated.GROUPS}
    assert all(point["nonzero"] == 784 for point in points if point["penalty"] == "none")


def test_lenet5_runs(data_dir: Path, tmp_path: Path) -> None:
    splits = few(load_mnist(data_dir, flat=False, shift=1, limit=256))
    found = lenet5.job(0, splits, tmp_path, quick=True)
    assert found["groups"] == round(lenet5.SHARES[-1] * found["nonzero"]["fc1"])
    assert found["network"] > 2
    assert network_tables.widths(found["cuts"], found["groups"]).startswith(f"20-50-{found['nonzero']['fc1']} (→ ")


def test_the_curve_runs_one_method(data_dir: Path, tmp_path: Path) -> None:
    splits = load_mnist(data_dir, shift=1, limit=512)
    found = curve.job("magnitude of rows", 0, splits, tmp_path, Budget(press=1, retrain=1), 1)
    sizes = [point["network"] for point in found["points"]]
    assert sizes == sorted(sizes)
    assert len(sizes) >= 8
    assert pictures.mean_curves([found])["magnitude of rows"][0][0] == pytest.approx(sizes[0])


def test_table_1_and_the_study_of_ties_run(data_dir: Path, tmp_path: Path) -> None:
    given = ["--quick", "--data", str(data_dir), "--work", str(tmp_path)]
    for row in ("none", "GrOWL + l2"):
        table1.main([*given, "--only", row])
    tmp_path = tmp_path / "quick"  # quick runs have a folder of their own
    kept = json.loads((tmp_path / "GrOWL+l2-0.json").read_text(encoding="utf-8"))
    assert kept["groups"] == kept["steps"]["groups"] == 32
    assert kept["steps"]["compression"] == pytest.approx(24.5)
    with pytest.raises(SystemExit, match="table1 first"):
        ties.job("group lasso + l2", 0, table1.load_mnist(data_dir, limit=8), tmp_path, 30)
    found = ties.job("GrOWL + l2", 0, table1.load_mnist(data_dir, shift=1, limit=256), tmp_path, 30)
    assert [each["groups"] for each in found[:4]] == list(ties.GROUPS)
    assert {each["how"] for each in found} == {"at once", "affinity propagation", "Ward at once", "steps"}


def test_one_strength_runs_and_goes_on(tmp_path: Path) -> None:
    splits = load_digits_splits()
    name = "digits, transformer (AdamW)"
    found = one_strength.job(name, "GrOWL", 0, splits, tmp_path, tmp_path, 50)
    assert 0 < found["compact"] <= 1
    assert found["strength"] == 1.5
    again = one_strength.job(name, "GrOWL", 0, splits, tmp_path, tmp_path, 50)
    assert {**again, "seconds": 0} == {**found, "seconds": 0}


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


def test_resnet20_runs_and_goes_on_from_what_is_there(
    cifar10: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = data_dir.parent / "pretrained"
    if not weights.is_dir():
        pytest.skip(f"no pretrained weights in {weights}")
    given = ["--quick", "--data", str(cifar10), "--weights", str(weights), "--work", str(tmp_path), "--epochs", "1"]
    for way in ([], ["--inner", "--balance", "1"]):
        resnet20.main([*given, "--goal", "1.0", *way])
        assert "nothing kept" in capsys.readouterr().out
    (tmp_path / "quick" / "teacher.pt").unlink()  # nothing is left to be taught
    resnet20.main([*given, "--goal", "1.0"])
    assert not (tmp_path / "quick" / "teacher.pt").exists()


def test_table_2_runs_in_pieces_and_needs_a_gpu_or_a_word(
    cifar10: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(cifar10)
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit):
            table2.main(["--data", folder])
        assert "no CUDA device" in capsys.readouterr().err
    given = [
        "--quick",
        "--data",
        folder,
        "--work",
        str(tmp_path),
        "--only",
        "GrOWL as it comes",
        "--only",
        "GrOWL, a quarter of the MACs",
        "--only",
        "GrOWL + l2",
    ]
    table2.main([*given, "--minutes", "0"])
    assert "the same command goes on" in capsys.readouterr().out
    for _ in range(6):
        table2.main([*given, "--minutes", "9"])
        if "these rows are done" in capsys.readouterr().out:
            break
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((tmp_path / "quick").glob("*.json"))]
    assert {each["row"] for each in kept} == {"GrOWL as it comes", "GrOWL, a quarter of the MACs", "GrOWL + l2"}
    assert all(each["network"] >= 0.99 for each in kept)


def test_the_page_shows_what_was_measured() -> None:
    page = tables.PAGE.read_text("utf-8")
    assert tables.filled(page) == page
    assert all(f"<!-- table: {name} -->" in page for name in tables.TABLES)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_split_on_a_gpu_is_scored_there() -> None:
    generator = torch.Generator().manual_seed(0)
    split = TensorSplit(
        torch.randint(256, (40, 3, 32, 32), generator=generator, dtype=torch.uint8), torch.arange(40) % 10
    )
    on_gpu, on_cpu = (DeviceSplit(split, torch.device(device), channels=True) for device in ("cuda", "cpu"))
    model = vgg16(width=0.125).eval()
    expected = evaluate(model, on_cpu, torch.device("cpu"))
    assert evaluate(model.cuda(), on_gpu, torch.device("cuda")) == pytest.approx(expected, abs=0.05)
