"""The fields of a recipe with their types, ranges and meanings: the reference of recipe files."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from torch_growl.application.recipes.penalty_fields import Growl, Settings, checked_target, is_compensated
from torch_growl.application.recipes.tying_fields import Tying
from torch_growl.application.recipes.yaml_1_2 import Dumper
from torch_growl.arguments import did_you_mean

__all__ = ["Choice", "Compact", "Measure", "Phase", "Recipe", "TrainPhase"]

_LONGEST_NAME = 100
_TASKS = "classification", "multilabel", "regression", "segmentation", "language-model"


class Choice(Settings):
    """A dataset or a network, given by name."""

    name: str = Field(min_length=1, description="A built-in name, or package.module:function.")
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the dataset or network.")


class Data(Choice):
    """The dataset, and how it is read."""

    workers: int = Field(default=0, ge=0, description="Processes that read examples; 0: the run's own.")
    steps_per_epoch: int | None = Field(default=None, ge=1, description="For iterable data; null: one pass over it.")


class Phase(Settings):
    """Settings of one training."""

    epochs: int = Field(ge=0, description="Passes over the training data; 0: no training.")
    batch_size: int = Field(default=128, ge=1, description="Examples in one optimizer step.")
    optimizer: Literal["sgd", "adam", "adamw"] = Field(default="sgd", description="torch.optim's SGD, Adam or AdamW.")
    lr: float = Field(gt=0, description="Learning rate before the schedule.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum, for SGD only.")
    nesterov: bool = Field(default=False, description="Nesterov momentum, for SGD only; needs momentum > 0.")
    weight_decay: float = Field(default=0.0, ge=0, description='Weight decay: the "+ l2" of the paper.')
    schedule: Literal["constant", "step", "cosine"] = Field(
        default="constant", description="step: multiply by gamma every step_size epochs; cosine: decay to 0."
    )
    step_size: int = Field(default=10, ge=1, description="Epochs between two steps of the schedule step.")
    gamma: float = Field(default=0.1, gt=0, le=1, description="Factor of one step of the schedule step.")
    warmup_epochs: int = Field(default=0, ge=0, description="Epochs over which the learning rate rises at the start.")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Label smoothing of the cross-entropy loss.")
    distill: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Weight of the distillation loss from the dense network's outputs (Hinton 2015); the loss on the "
        "labels has 1 minus this weight.",
    )
    temperature: float = Field(default=2.0, gt=0, description="Temperature of the distillation loss.")
    distill_features: float = Field(
        default=0.0,
        ge=0,
        description="Weight of the distance from the dense network's features, the outputs of the network's children "
        "where their shapes are the same; added to the loss.",
    )
    average: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Decay of a running average of the weights after each step, which replaces them at the end of the "
        "training, such as 0.999; 0: none.",
    )
    recalibrate: bool = Field(
        default=False, description="Estimate batch normalisations anew on 50 training batches at the end."
    )

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Phase:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum > 0")
        return self


class TrainPhase(Phase):
    """Settings of the training with the penalty."""

    start: Literal["fresh", "dense", "given"] = Field(
        default="dense",
        description="Initial weights. fresh: newly drawn; dense: those of the dense network; given: those in "
        "checkpoints/given.pt of the run's folder, where `growl sweep` puts the weights of the previous strength.",
    )


class RetrainPhase(Phase):
    """Settings of the training with the tying enforced."""

    form: Literal["tied", "compact"] = Field(
        default="tied",
        description="tied: train the dense network with its groups tied, as in the paper; compact: train the compact "
        "network, with the centroids as ordinary weights, which is faster.",
    )


class Compact(Settings):
    """Settings of the compaction."""

    full: bool = Field(default=True, description="Also remove channels that only pruned inputs read.")
    dtype: Literal["float32", "bfloat16", "float16", "int8"] = Field(
        default="float32",
        description="Type of the weights in model.safetensors, from which the compact accuracy is measured.",
    )


class Measure(Settings):
    """Settings of the timing of the dense and the compact network."""

    batch_sizes: list[int] = Field(default=[1, 256], min_length=1, description="Batch sizes, each ≥ 1.")
    repeats: int = Field(
        default=20, ge=1, description="Timed calls for each network and batch size; the median is reported."
    )

    @field_validator("batch_sizes")
    @classmethod
    def _at_least_one(cls, value: list[int]) -> list[int]:
        if any(size < 1 for size in value):
            raise ValueError("must all be ≥ 1")
        return value


class Recipe(Settings):
    """All settings of a run: data, network, trainings, penalty, tying, compaction, timing."""

    name: str = Field(min_length=1, description="Name of the recipe, and of the run folder unless --out is given.")
    description: str = Field(default="", description="One line for lists and reports.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of all random numbers.")
    device: Literal["auto", "cpu", "cuda", "mps", "xpu"] = Field(
        default="auto", description="auto: CUDA, MPS or XPU if the machine has one, otherwise the CPU."
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads of torch; null: torch's default.")
    precision: Literal["no", "bf16", "fp16"] = Field(default="no", description="Mixed precision of training.")
    task: str = Field(
        default="classification",
        description=f"{', '.join(_TASKS)}, or package.module:function for a loss and metric of your own.",
    )
    data: Data = Field(description="The dataset.")
    model: Choice = Field(description="The network.")
    dense: Phase = Field(description="Training of the dense network, without penalty: the baseline.")
    train: TrainPhase = Field(description="Training with the penalty.")
    target: dict[str, Any] | None = Field(
        default=None,
        description="What is to be left, in place of growl.strength: one of tg.Target's arguments, such as macs: 0.5; "
        "of weights, macs and bytes the rows go in one step, and the rest takes over, unless compensate is false; with "
        "ties: true some rows are tied in it.",
    )
    growl: Growl | None = Field(default=None, description="The penalty; null: none.")
    tying: Tying = Field(default_factory=Tying, description="Settings of the grouping of rows.")
    merge: Phase | None = Field(
        default=None, description="Training after every step of tying but the last; null: none."
    )
    retrain: RetrainPhase = Field(description="Training of the tied network.")
    compact: Compact = Field(default_factory=Compact, description="Settings of the compaction.")
    measure: Measure = Field(default_factory=Measure, description="Settings of the timing.")

    @field_validator("task")
    @classmethod
    def _is_a_task(cls, value: str) -> str:
        if value not in _TASKS and ":" not in value:
            raise ValueError(did_you_mean(value, _TASKS, otherwise="must be package.module:function, or {known}"))
        return value

    @field_validator("name")
    @classmethod
    def _is_a_folder_s_name(cls, value: str) -> str:
        if len(value) > _LONGEST_NAME or not value.isprintable() or value in (".", "..") or set(value) & set("/\\"):
            raise ValueError(
                f"must be a name of at most {_LONGEST_NAME} letters without / and \\: the run's folder is named by it"
            )
        return value

    @field_validator("target")
    @classmethod
    def _is_a_target(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        return value if value is None else checked_target(value)

    @model_validator(mode="before")
    @classmethod
    def _target_needs_no_strength(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("target") is not None and isinstance(fields.get("growl", {}), dict):
            return {**fields, "growl": {"strength": None, **fields.get("growl", {})}}
        return fields

    @model_validator(mode="after")
    def _target_or_strength(self) -> Recipe:
        if self.target is not None:
            if self.train.epochs == 0:
                raise ValueError("target needs a training: train.epochs must be ≥ 1")
            if self.growl is None:
                raise ValueError("target needs the penalty, but growl is null; leave growl out")
            self.growl.check_with_target(self.target, self.train)
        elif self.growl is not None and self.growl.strength is None:
            raise ValueError("growl.strength must be a number where there is no target, found None")
        return self

    @model_validator(mode="after")
    def _phases_fit(self) -> Recipe:
        if self.dense.distill or self.dense.distill_features:
            raise ValueError(
                "dense.distill and dense.distill_features must be 0: the dense network is the teacher; set them in a "
                "later training"
            )
        if self.tying.fits and self.growl is not None and self.growl.side == "output":
            name = "compensate" if self.tying.compensate else f"method={self.tying.method}"
            raise ValueError(f"tying.{name} fits rows that are inputs: it cannot be combined with growl.side=output")
        merges = self.tying.steps > 1 or self.tying_drop is not None
        if self.merge is not None and not merges:
            raise ValueError(
                "merge needs several steps of tying: give tying.groups several numbers for each layer, or tying.left"
            )
        if self.merge is None and merges:
            raise ValueError(
                "tying has several steps, or one is chosen by the accuracy that it costs: give merge, the "
                "settings of the training after every step"
            )
        return self

    @property
    def penalised(self) -> bool:
        """Tell whether the recipe has a penalty: a target, or a strength above 0."""
        return self.growl is not None and self.growl.strength != 0

    @property
    def is_compensated(self) -> bool:
        """Tell whether the rows of a target go in one step, and those that stay take over what they carried."""
        return self.target is not None and is_compensated(self.target)

    @property
    def accuracy_drop(self) -> float | None:
        """The target's accuracy drop, in the unit in which the metric is shown; None: the target is another one."""
        return None if self.target is None else self.target.get("accuracy_drop")

    @property
    def tying_drop(self) -> float | None:
        """The drop by which the last step of tying is chosen; None: all steps are taken."""
        return self.accuracy_drop if self.tying.drop is None and self.tying.in_steps else self.tying.drop

    @property
    def trainings(self) -> dict[str, Phase]:
        """The trainings in order: dense, train, a merge between every two steps of tying, retrain.

        With a drop for tying there is a merge after the last step too.
        """
        count = self.tying.steps - (self.tying_drop is None)
        between = {f"merge{step}": self.merge for step in range(1, count + 1)} if self.merge else {}
        return {"dense": self.dense, "train": self.train, **between, "retrain": self.retrain}

    def fingerprint(self, training: str) -> str:
        """Return a code of all settings that the weights after a training depend on.

        Args:
            training: ``dense``, ``train``, ``merge1``, … or ``retrain``; ``given`` and ``grouped``, the weights that
                ``train`` and ``retrain`` start from.
        """
        fields = self.model_dump(exclude={"name", "description", "device", "threads", "measure"})
        del fields["data"]["workers"]
        if fields["data"]["steps_per_epoch"] is None:
            del fields["data"]["steps_per_epoch"]
        if self.task == "classification":  # as in checkpoints of earlier versions, which have none of these fields
            del fields["task"]
        fields["compact"] = {"full": self.compact.full}
        for name in ("drop", "compensate", "left"):
            if not fields["tying"][name]:  # as in checkpoints of earlier versions
                del fields["tying"][name]
        for phase in ("dense", "train", "merge", "retrain"):
            for name in ("distill_features", "average", "recalibrate"):  # checkpoints of earlier versions have none
                if fields[phase] is not None and not fields[phase][name]:
                    del fields[phase][name]
        if training != "retrain":
            fields["retrain"] = {"form": self.retrain.form}
        if training in ("dense", "train", "given"):
            del fields["retrain"], fields["compact"], fields["tying"], fields["merge"]
        if training == "dense":
            del fields["train"], fields["growl"]
        if self.target is None or training == "dense":
            del fields["target"]  # checkpoints of versions without targets have none
        elif "file_bytes" in self.target:
            fields["target"]["dtype"] = self.compact.dtype
        return hashlib.sha256(json.dumps(_plain(fields), sort_keys=True, default=repr).encode()).hexdigest()

    def to_yaml(self) -> str:
        """Write the recipe as YAML, with all defaults; loading it gives an equal recipe."""
        text: str = yaml.dump(self.model_dump(), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
        return text


def _plain(value: Any) -> Any:
    """Return values with whole numbers as integers, since 1.0 in a recipe is equal to 1."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
