"""The table of stages: their order, what each trains, which accuracies it gives and which files it writes.

Training, run folder, progress display, report and command all read this one table.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch_growl.arguments import check_choice

__all__ = ["ACCURACIES", "STAGES", "STAGE_NAMES", "Stage", "files_from", "title_of", "training_seed"]


@dataclass(frozen=True)
class Training:
    """One kind of training.

    Attributes:
        name: in ``metrics.jsonl``, ``checkpoints/`` and ``result.json``; ``merge`` is followed by a number from 1.
        title: a few words for the progress display.
        seed: a number of its own, so that the kinds see the data in different orders; the order of ``STAGES`` may
            change, this number may not.
    """

    name: str
    title: str
    seed: int


@dataclass(frozen=True)
class Stage:
    """One stage of a run, a command of its own.

    Attributes:
        name: the command's.
        title: a few words for the progress display.
        trainings: the kinds of training in it, in order.
        accuracies: the fields of ``accuracy`` in ``result.json`` that it decides, in order.
        files: what it writes into the run folder, as patterns, in the order of writing.
    """

    name: str
    title: str
    trainings: tuple[Training, ...] = ()
    accuracies: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


STAGES = (
    Stage(
        "train",
        "train the dense network, then with the penalty",
        (Training("dense", "train without penalty", 0), Training("train", "train with GrOWL", 1)),
        ("dense", "regularized"),
        ("checkpoints/dense.pt", "checkpoints/train.pt", "path.json", "checkpoints/row_norms.safetensors"),
    ),
    Stage(
        "tie",
        "find groups",
        (Training("merge", "train between two steps of tying", 3),),
        ("tied",),
        ("checkpoints/merge*.pt", "checkpoints/grouped.pt", "tying.json"),
    ),
    Stage(
        "retrain",
        "train centroids",
        (Training("retrain", "train centroids", 2),),
        ("retrained",),
        ("checkpoints/retrain.pt", "checkpoints/rows.safetensors"),
    ),
    Stage(
        "compact",
        "make the smaller network",
        accuracies=("compact",),
        files=("model.safetensors", "model.onnx", "model.pt2", "model.pte", "latency.json"),
    ),
    Stage("eval", "test, measure, check", files=("result.json", "report.html", "figures/*.png")),
)
STAGE_NAMES = tuple(stage.name for stage in STAGES)
ACCURACIES = tuple(name for stage in STAGES for name in stage.accuracies)
_TRAININGS = tuple(training for stage in STAGES for training in stage.trainings)


def files_from(stage: str) -> list[str]:
    """Patterns of the files that a stage and all stages after it write, the last file first.

    When they are deleted in this order, a file is never left without those that it was made from.

    Raises:
        InvalidValueError: the stage is unknown.
    """
    first = STAGE_NAMES.index(check_choice("stage", stage, STAGE_NAMES))
    return [pattern for each in STAGES[first:] for pattern in each.files][::-1]


def training_seed(name: str) -> int:
    """A number that no other training of the run has."""
    kind, number = _split(name)
    return kind.seed + number


def title_of(name: str) -> str:
    """The title of a training or of a stage; a training comes first where both have the name."""
    titles = {stage.name: stage.title for stage in STAGES} | {each.name: each.title for each in _TRAININGS}
    return titles[name.rstrip("0123456789")]


def _split(name: str) -> tuple[Training, int]:
    """``"merge2"`` as its kind and 2; 0 where there is no number."""
    stem = name.rstrip("0123456789")
    kind = next(training for training in _TRAININGS if training.name == stem)
    return kind, int(name[len(stem) :] or 0)
