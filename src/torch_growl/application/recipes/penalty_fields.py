"""The fields of a recipe that describe the penalty and the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from torch_growl.arguments import did_you_mean
from torch_growl.errors import GrowlError
from torch_growl.mathematics.owl import sequence_from_dict
from torch_growl.networks.targets import COUNTED, Target

__all__ = ["Growl", "Settings", "checked_target", "is_compensated"]

# arguments of tg.Target that the run gives
_OF_THE_RUN = ("validate", "higher_is_better", "reference", "standard_error", "dtype")


class Settings(BaseModel):
    """Base of all parts of a recipe: unknown fields are errors, and types are not converted, but for 1 to 1.0."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Shape(Settings):
    """The sequence λ, with the parameters of tg.pld, tg.lasso, …, which check them."""

    name: Literal["pld", "lasso", "oscar", "slope", "group_slope"] = Field(
        description="pld: linear decay over the first rows, then constant; oscar: linear decay over all rows; lasso: "
        "constant, which gives group lasso; slope, group_slope: quantiles."
    )
    p: float | None = Field(default=None, description="pld: the share of the rows over which λ decays, in (0, 1].")
    floor: float | None = Field(default=None, description="pld, oscar: λ decays from 1 to this value, in [0, 1].")
    lambda1: float | None = Field(default=None, description="pld, oscar, in place of floor: the last value of λ, ≥ 0.")
    lambda2: float | None = Field(default=None, description="pld, oscar, with lambda1: the decay from row to row, ≥ 0.")
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
    """Settings of one layer, or of all layers that match a pattern, in place of the general ones."""

    strength: float | None = Field(default=None, ge=0, description="In place of growl.strength.")
    sequence: Shape | None = Field(default=None, description="In place of growl.sequence.")
    skip: bool = Field(default=False, description="Do not penalise the layer.")


class Growl(Settings):
    """The penalty; without it, or with strength 0, a recipe is a baseline."""

    strength: float | None = Field(
        default=1.5, ge=0, description="Factor of the sequence; 0: no penalty; null: found for the target."
    )
    sequence: Shape = Field(
        default_factory=lambda: Shape(name="pld", p=0.3, floor=0.85),
        description="The sequence λ.",
    )
    form: Literal["scale-free", "paper"] = Field(
        default="scale-free",
        description="scale-free: divided by the layer's norm, which the prox keeps; paper: as published.",
    )
    balance: Literal["weights", "none"] | Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=None,
        description="Factor of each layer's strength. weights: the square root of its share of the penalised weights; "
        "none: 1; a number: that power of the share; null: weights for the form scale-free, none for the form paper.",
    )
    every: int | Literal["epoch"] = Field(
        default=1, description="Optimizer steps between two proximal steps, or 'epoch'."
    )
    warmup_epochs: float = Field(default=0, ge=0, description="Epochs over which the strength rises linearly from 0.")
    side: Literal["input", "output", "channel"] = Field(
        default="input",
        description="input: a row is the weights of one input; output: one neuron or filter; channel: all that reads "
        "and makes a channel, found on the network itself.",
    )
    layers: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Names or patterns of layers; null: all but the first convolution and the last layer.",
    )
    overrides: dict[str, LayerOverride] = Field(
        default_factory=dict, description="Other settings, by layer name, pattern (features.*) or type (Conv2d)."
    )
    min_rows: int = Field(default=4, ge=1, description="The number of rows that are left in a layer at least.")

    @field_validator("every", mode="before")
    @classmethod
    def _steps_or_epoch(cls, value: Any) -> Any:
        if value != "epoch" and (type(value) is not int or value < 1):
            raise ValueError("must be a whole number ≥ 1 or 'epoch'")
        return value

    @model_validator(mode="after")
    def _channels_have_no_overrides(self) -> Growl:
        if self.side == "channel" and self.overrides:
            raise ValueError(
                "growl.overrides cannot be combined with growl.side=channel, whose rows are of many layers"
            )
        return self

    def check_with_target(self, target: dict[str, Any], train: Any) -> None:
        """Raise ValueError if a field of the penalty or of its training cannot be combined with a target."""
        for name in ("average", "recalibrate"):
            if "accuracy_drop" in target and getattr(train, name):
                raise ValueError(
                    f"train.{name} cannot be combined with an accuracy_drop, whose network is judged before it; set it "
                    f"in retrain.{name}"
                )
        if target.get("ties") and self.side == "channel":
            raise ValueError("target.ties ties rows that are inputs: it cannot be combined with growl.side=channel")
        neutral = {"strength": None, "form": "scale-free", "balance": None, "every": 1, "warmup_epochs": 0}
        wrong = [f"growl.{name}" for name, value in neutral.items() if getattr(self, name) != value]
        wrong += ["growl.side"] if self.side == "output" else []
        wrong += [
            f"growl.overrides.{key}.strength" for key, each in self.overrides.items() if each.strength is not None
        ]
        if wrong:
            raise ValueError(
                f"{wrong[0]} cannot be combined with target, for which the strength of every layer is found; leave "
                "it out, or set target to null"
            )


def is_compensated(target: Mapping[str, Any]) -> bool:
    """Tell whether a target's rows go in one step and the rest takes over: by default if its measure is counted."""
    return bool(target.get("compensate", any(name in target for name in COUNTED)))


def checked_target(value: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a target.

    Raises:
        ValueError: :class:`torch_growl.Target` does not take them.
    """
    known = [each.name for each in fields(Target) if each.name not in _OF_THE_RUN]
    compensate = value.get("compensate", False)
    if type(compensate) is not bool:
        raise ValueError(
            f"compensate must be true or false, for which the run takes training batches; got {compensate}"
        )
    for name in value:
        if name not in known:
            raise ValueError(f"unknown measure {name!r}; {did_you_mean(name, known)}")
    try:
        given = {**value, "compensate": [0, 0] if is_compensated(value) else False}  # the batches are the run's
        Target(**given, validate=(lambda _: 0.0) if value.get("accuracy_drop") is not None else None)
    except GrowlError as error:
        raise ValueError(str(error)) from error
    return value
