"""Tasks of classes: cross-entropy, accuracy, intersection over union, perplexity, against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from torch_growl.application.tasks.batch_forms import Batch
from torch_growl.application.tasks.classes import IGNORED, Classes, Classification, LanguageModel, Segmentation
from torch_growl.errors import DataError

SHAPES: dict[str, tuple[Classes, tuple[int, ...], tuple[int, ...]]] = {
    "classification": (Classification(), (6, 5), (6,)),
    "segmentation": (Segmentation(), (6, 5, 3, 4), (6, 3, 4)),
    "language-model": (LanguageModel(), (6, 7, 5), (6, 7)),
}


def some(task: str) -> tuple[Classes, Tensor, Tensor]:
    made, outputs, labels = SHAPES[task]
    generator = torch.Generator().manual_seed(0)
    return (
        made,
        torch.randn(outputs, generator=generator),
        torch.randint(5, labels, generator=generator),
    )


def flat(task: str, output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits as a matrix with one row for each label."""
    classes_last = output.movedim(1, -1) if task == "segmentation" else output
    return classes_last.reshape(-1, 5), labels.reshape(-1)


@pytest.mark.parametrize("task", SHAPES)
def test_the_loss_is_the_cross_entropy_of_all_labels(task: str) -> None:
    made, output, labels = some(task)
    rows, classes = flat(task, output, labels)
    torch.testing.assert_close(made.loss(output, labels), F.cross_entropy(rows, classes))
    torch.testing.assert_close(made.loss(output, labels, 0.1), F.cross_entropy(rows, classes, label_smoothing=0.1))
    assert torch.equal(made.predicted(output).reshape(-1), rows.argmax(1))
    assert made.classes(output) == 5


@pytest.mark.parametrize("task", SHAPES)
def test_distillation_is_the_divergence_from_the_teacher_for_each_label(task: str) -> None:
    made, output, labels = some(task)
    wanted = output.flip(0)
    (given, classes), (teacher, _) = flat(task, output, labels), flat(task, wanted, labels)
    p, q = F.log_softmax(teacher / 3, dim=1), F.log_softmax(given / 3, dim=1)
    divergence = (p.exp() * (p - q)).sum() / len(classes)
    torch.testing.assert_close(made.distance(output, wanted, 3.0), divergence)


@pytest.mark.parametrize("task", SHAPES)
def test_the_metric_of_two_batches_is_that_of_all_examples(task: str) -> None:
    made, output, labels = some(task)
    whole = made.score(made.sums(output, labels))
    parts = made.sums(output[:4], labels[:4]) + made.sums(output[4:], labels[4:])
    assert made.score(parts) == pytest.approx(whole, rel=1e-5)


def test_accuracy_is_the_share_of_correct_classes() -> None:
    task, output, labels = some("classification")
    assert task.score(task.sums(output, labels)) == float((output.argmax(1) == labels).double().mean())


def test_the_intersection_over_union_is_the_mean_of_classes_that_occur() -> None:
    task = Segmentation()
    labels = torch.tensor([[[0, 0, 1], [1, IGNORED, 0]]])
    found = torch.tensor([[[0, 1, 1], [1, 2, 0]]])
    output = F.one_hot(found, 4).movedim(-1, 1).float()
    # class 0: 2 of 3; class 1: 2 of 3; class 2 is found on an uncounted pixel only; class 3 does not occur
    assert task.score(task.sums(output, labels)) == pytest.approx(2 / 3)
    labels[0, 0, 0] = 3  # class 0: 1 of 3 pixels in either; class 1: 2 of 3; class 3: none of 1
    assert task.score(task.sums(output, labels)) == pytest.approx((1 / 3 + 2 / 3 + 0) / 3)


def test_a_pixel_of_a_class_beyond_the_outputs_is_named() -> None:
    with pytest.raises(DataError, match="class 4, but the network has 3 outputs"):
        Segmentation().sums(torch.zeros(1, 3, 1, 2), torch.tensor([[[0, 4]]]))


def test_perplexity_is_the_exponential_of_the_mean_loss_of_counted_tokens() -> None:
    task, output, labels = some("language-model")
    labels[0, :5] = IGNORED
    rows, tokens = flat("language-model", output, labels)
    wanted = math.exp(float(F.cross_entropy(rows.double(), tokens, ignore_index=IGNORED)))
    assert task.score(task.sums(output, labels)) == pytest.approx(wanted, rel=1e-5)
    assert task.score(torch.tensor([1e6, 1.0])) < math.inf


def test_labels_of_dicts_are_the_next_tokens() -> None:
    tokens, mask = torch.tensor([[5, 6, 7, 0]]), torch.tensor([[1, 1, 1, 0]])
    task = LanguageModel()
    assert task.read({"input_ids": tokens}).labels.tolist() == [[6, 7, 0, IGNORED]]
    masked = task.read({"input_ids": tokens, "attention_mask": mask})
    assert masked.labels.tolist() == [[6, 7, IGNORED, IGNORED]]
    assert list(masked.example_inputs) == ["input_ids", "attention_mask"]
    given = task.read({"input_ids": tokens, "labels": torch.tensor([[IGNORED, 6, 7, IGNORED]])})
    assert given.labels.tolist() == [[6, 7, IGNORED, IGNORED]]
    assert task.read((tokens, tokens + 1)).labels.tolist() == [[6, 7, 8, 1]]
    with pytest.raises(DataError, match="must have 'labels' or 'input_ids', found pixels"):
        task.read({"pixels": tokens})


@pytest.mark.parametrize("task", SHAPES)
def test_outputs_of_another_shape_are_refused(task: str) -> None:
    made, output, labels = some(task)
    batch = Batch(((labels + 1,), {}), labels)
    assert made.output_fault(output, batch) == ""
    for other in (output[0], output[:3], output[..., None]):
        assert made.output_fault(other, batch) == "shape"
    if task != "classification":
        assert made.output_fault(output.transpose(1, -1)[..., :2], batch) == "shape"


def test_a_language_model_that_is_to_copy_its_input_is_refused() -> None:
    task, output, labels = some("language-model")
    assert "give the token after each" in task.output_fault(output, Batch(((labels,), {}), labels))


@pytest.mark.parametrize("task", SHAPES)
def test_labels_of_other_forms_are_refused(task: str) -> None:
    made, _, labels = some(task)
    assert made.labels_fault(labels) == ""
    assert made.labels_fault(labels.int()).startswith("are int32 of shape (6")
    assert made.labels_fault(labels.float()).startswith("are float32 of shape (6")
    assert made.labels_fault(labels[..., None]).startswith("are int64 of shape (6")
    assert made.labels_fault(labels - 1).startswith("must be classes ≥ 0, found -1; ")
    ignored = made.labels_fault(torch.full_like(labels, IGNORED))
    assert ignored == (
        "must be classes ≥ 0, found -100; leave such examples out"
        if task == "classification"
        else ("are all -100, which counts for nothing")
    )
