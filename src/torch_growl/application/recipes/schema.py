"""What a recipe is: every field with its type, range and meaning. This is the reference of recipe files."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from torch_growl.application.recipes.yaml_1_2 import Dumper
from torch_growl.errors import GrowlError
from torch_growl.mathematics.owl import sequence_from_dict

__all__ = ["Choice", "Compact", "Growl", "LayerOverride", "Measure", "Phase", "Recipe", "Shape", "TrainPhase", "Tying"]


class Settings(BaseModel):
    """Unknown fields are refused, types are not converted (a whole number may stand for a decimal one)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Choice(Settings):
    """A dataset or a network, by name."""

    name: str = Field(min_length=1, description="A built-in name, or package.module:function.")
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the function.")


class Phase(Settings):
    """One phase of training."""

    epochs: int = Field(ge=0, description="Passes over the training data; 0 leaves the phase out.")
    batch_size: int = Field(default=128, ge=1, description="Examples in one step.")
    optimizer: Literal["sgd", "adam", "adamw"] = Field(default="sgd", description="torch.optim's SGD, Adam or AdamW.")
    lr: float = Field(gt=0, description="Learning rate before the schedule.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Of SGD only.")
    nesterov: bool = Field(default=False, description="Nesterov's momentum; of SGD only, needs momentum > 0.")
    weight_decay: float = Field(default=0.0, ge=0, description='The "+ l2" of the paper.')
    schedule: Literal["constant", "step", "cosine"] = Field(
        default="constant", description="step: times gamma every step_size epochs; cosine: down to 0 at the last epoch."
    )
    step_size: int = Field(default=10, ge=1, description="Epochs between two steps of the step schedule.")
    gamma: float = Field(default=0.1, gt=0, le=1, description="Factor of one step of the step schedule.")
    warmup_epochs: int = Field(default=0, ge=0, description="Epochs over which the learning rate first rises.")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Share of every label spread over all classes.")
    distill: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the loss that asks for the dense network's answers in place of the labels (Hinton 2015).",
    )
    temperature: float = Field(default=2.0, gt=0, description="Softens both answers that distill compares.")

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Phase:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum > 0")
        return self


class TrainPhase(Phase):
    """Training with the penalty."""

    start: Literal["fresh", "dense", "given"] = Field(
        default="dense",
        description="fresh: from new weights; dense: from the dense network's; given: from the weights that were put "
        "into the run's folder, as `growl sweep` does with those of the strength before.",
    )


class RetrainPhase(Phase):
    """Training with the structure enforced."""

    form: Literal["tied", "compact"] = Field(
        default="tied",
        description="tied: the dense network, its groups tied (the paper's: every row takes part in decay and step); "
        " compact: the smaller network itself, as fast as it is small, its centroids as plain weights.",
    )


class Shape(Settings):
    """The shape of λ, as tg.pld, tg.lasso, … make it; they check the ranges, and which fields go together."""

    name: Literal["pld", "lasso", "oscar", "slope", "group_slope"] = Field(
        description="pld: a ramp over the first rows, then flat; oscar: a ramp over all rows; lasso: flat, that is "
        "group lasso; slope, group_slope: quantiles."
    )
    p: float | None = Field(default=None, description="pld: the part of the rows the ramp goes over, in (0, 1].")
    floor: float | None = Field(default=None, description="pld, oscar: the ramp falls from 1 to this, 0 to 1.")
    lambda1: float | None = Field(default=None, description="pld, oscar, in place of floor: λ's last value, ≥ 0.")
    lambda2: float | None = Field(default=None, description="pld, oscar, with lambda1: the fall from row to row, ≥ 0.")
    q: float | None = Field(default=None, description="slope, group_slope: false discovery rate, in (0, 1).")

    @model_validator(mode="after")
    def _parameters_fit(self) -> Shape:
        try:
            sequence_from_dict(self.model_dump())
        except GrowlError as error:
            raise ValueError(str(error)) from error
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if value is not None}


class LayerOverride(Settings):
    """What one layer, or all that match a pattern, does differently."""

    strength: float | None = Field(default=None, ge=0, description="In place of growl.strength.")
    sequence: Shape | None = Field(default=None, description="In place of growl.sequence.")
    skip: bool = Field(default=False, description="Leave the layer alone.")


class Growl(Settings):
    """The penalty; a recipe without it, or of strength 0, is a baseline."""

    strength: float = Field(default=1.5, ge=0, description="Scales the sequence; 0: no penalty.")
    sequence: Shape = Field(
        default_factory=lambda: Shape(name="pld", p=0.3, floor=0.85),
        description="The shape of λ.",
    )
    form: Literal["scale-free", "paper"] = Field(
        default="scale-free",
        description="scale-free: the penalty over the layer's norm, which the prox holds; paper: as published.",
    )
    balance: Literal["weights", "none"] | Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=None,
        description="weights: a layer's strength is times the root of its share of the penalised weights; none: all "
        "the same; a number: the power of that share; null: weights in the scale-free form, none in the paper's.",
    )
    every: int | Literal["epoch"] = Field(default=1, description="The prox runs after so many steps, or 'epoch'.")
    warmup_epochs: float = Field(default=0, ge=0, description="Epochs over which the strength rises evenly from 0.")
    side: Literal["input", "output"] = Field(
        default="input", description="input: a row is an input's outgoing weights; output: a neuron or filter."
    )
    layers: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Names or patterns; null: every layer but the first convolution and the last layer.",
    )
    overrides: dict[str, LayerOverride] = Field(
        default_factory=dict, description="By layer name, pattern (features.*) or type (Conv2d)."
    )
    min_rows: int = Field(default=4, ge=1, description="A layer keeps at least so many rows.")

    @field_validator("every", mode="before")
    @classmethod
    def _steps_or_epoch(cls, value: Any) -> Any:
        if value != "epoch" and (type(value) is not int or value < 1):
            raise ValueError("must be a whole number ≥ 1 or 'epoch'")
        return value


class Tying(Settings):
    """How the rows of the trained network are grouped."""

    method: Literal["affinity", "ward", "none"] = Field(
        default="affinity",
        description="affinity: affinity propagation on the rows' similarity; ward: the likest directions are merged "
        "until so many groups are left as groups says, in steps if it gives several; none: pruning only.",
    )
    groups: dict[str, list[int | float]] = Field(
        default_factory=dict,
        description="Of ward, by layer name or pattern: the groups after every step, a number ≥ 1 or a share of the "
        "nonzero rows below 1. Layers without an entry are not tied.",
    )
    preference: float = Field(default=0.8, gt=0, le=1, description="Higher makes more groups. Paper: 0.6 and 0.8.")
    overrides: dict[str, float] = Field(
        default_factory=dict, description="Another preference for some layers, by name or pattern."
    )
    max_ratio: float = Field(
        default=0.95, gt=0, le=1, description="A layer with more groups for its nonzero rows is left untied; 1: never."
    )
    chain: bool = Field(
        default=False,
        description="Count compression.layers as the paper does for VGG: a zero row also removes the filter before it.",
    )

    @property
    def steps(self) -> int:
        """In how many steps groups are made."""
        return max(map(len, self.groups.values()), default=1)

    @model_validator(mode="after")
    def _steps_fit(self) -> Tying:
        if (self.method == "ward") != bool(self.groups):
            raise ValueError("method 'ward' and groups go together")
        for name, steps in self.groups.items():
            if len(steps) != self.steps or not steps:
                raise ValueError(f"groups: every layer needs as many steps as the others; {name!r} has {len(steps)}")
            if any(not (0 < value < 1 or (value >= 1 and value == int(value))) for value in steps):
                raise ValueError(f"groups of {name!r} must be whole numbers ≥ 1 or shares between 0 and 1")
        return self


class Compact(Settings):
    """How the smaller network is made."""

    full: bool = Field(default=True, description="Also remove the channels that only fed pruned inputs.")
    dtype: Literal["float32", "bfloat16", "float16", "int8"] = Field(
        default="float32",
        description="Of the weights in model.safetensors; compact accuracy and compression.file are those of the file.",
    )


class Measure(Settings):
    """How dense and compact networks are timed."""

    batch_sizes: list[int] = Field(default=[1, 256], min_length=1, description="Examples in one call, each ≥ 1.")
    repeats: int = Field(default=20, ge=1, description="Timed calls for each; the median is reported.")

    @field_validator("batch_sizes")
    @classmethod
    def _at_least_one(cls, value: list[int]) -> list[int]:
        if any(size < 1 for size in value):
            raise ValueError("must all be ≥ 1")
        return value


class Recipe(Settings):
    """A whole run: data, network, three phases of training, penalty, tying, compaction, measuring."""

    name: str = Field(min_length=1, description="Of the recipe; also the run folder's name unless --out is given.")
    description: str = Field(default="", description="One line for lists and reports.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Of everything random.")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: CUDA where there is one.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads of torch; null: its own choice.")
    precision: Literal["no", "bf16", "fp16"] = Field(default="no", description="Mixed precision of training.")
    data: Choice = Field(description="The dataset.")
    model: Choice = Field(description="The network.")
    dense: Phase = Field(description="Training of the dense network, without penalty: the baseline.")
    train: TrainPhase = Field(description="Training with the penalty.")
    growl: Growl | None = Field(default=None, description="The penalty; null: none.")
    tying: Tying = Field(default_factory=Tying, description="How rows are grouped.")
    merge: Phase | None = Field(
        default=None, description="Training after every step of tying but the last; null: none, one step goes at once."
    )
    retrain: RetrainPhase = Field(description="Training of the tied network.")
    compact: Compact = Field(default_factory=Compact, description="How the smaller network is made.")
    measure: Measure = Field(default_factory=Measure, description="How networks are timed.")

    @model_validator(mode="after")
    def _phases_fit(self) -> Recipe:
        if self.dense.distill:
            raise ValueError("dense.distill: the dense network has no other to learn from; set it in a later phase")
        if self.merge is not None and self.tying.steps == 1:
            raise ValueError("merge: there is nothing between steps; give tying.groups several numbers for a layer")
        if self.merge is None and self.tying.steps > 1:
            raise ValueError("merge: tying.groups has several steps; say how the network is trained between them")
        return self

    @property
    def trainings(self) -> dict[str, Phase]:
        """Settings of every training in order: dense, train, a merge between every two steps of tying, retrain."""
        between = {f"merge{step}": self.merge for step in range(1, self.tying.steps)} if self.merge else {}
        return {"dense": self.dense, "train": self.train, **between, "retrain": self.retrain}

    def to_yaml(self) -> str:
        """The whole recipe, every default spelled out, as a file that loads to an equal one."""
        text: str = yaml.dump(self.model_dump(), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
        return text
