"""The fields of a recipe that group rows, with their types, ranges and meanings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from torch_growl.application.recipes.penalty_fields import Settings

__all__ = ["Tying"]


class Tying(Settings):
    """Settings of the grouping of rows."""

    method: Literal["affinity", "ward", "none"] = Field(
        default="affinity",
        description="affinity: affinity propagation on the similarity of rows; ward: merge the rows of most similar "
        "direction down to the number in groups, in several steps if it has several numbers; none: prune only.",
    )
    groups: dict[str, list[int | float]] = Field(
        default_factory=dict,
        description="For ward, by layer name or pattern: groups left after every step, as a number ≥ 1 or as a "
        "share < 1 of the nonzero rows. Layers without an entry are not tied.",
    )
    drop: float | None = Field(
        default=None,
        gt=0,
        description="For ward: every step is followed by the training in merge, and the last step is taken after which "
        "the metric on the validation split is at most so much worse than the dense network's, in points or in its "
        "unit; null: the target's accuracy_drop, or the last step of all without one.",
    )
    preference: float = Field(
        default=0.8, gt=0, le=1, description="Least similarity of tied rows; the paper: 0.6 and 0.8."
    )
    overrides: dict[str, float] = Field(
        default_factory=dict, description="Other preferences, by layer name or pattern."
    )
    max_ratio: float = Field(
        default=0.95, gt=0, le=1, description="Layers with groups / nonzero rows above this are left untied; 1: none."
    )
    compensate: bool = Field(
        default=False, description="Fit tied rows to the outputs before, on 8 training batches (tg.compensate_)."
    )
    chain: bool = Field(
        default=False,
        description="Count compression.layers as the paper does for VGG: zero rows also remove filters before them.",
    )

    @property
    def steps(self) -> int:
        """The number of steps of tying."""
        return max(map(len, self.groups.values()), default=1)

    @model_validator(mode="after")
    def _steps_fit(self) -> Tying:
        if self.drop is not None and self.method != "ward":
            raise ValueError("drop needs method 'ward', whose steps it chooses from")
        if (self.method == "ward") != bool(self.groups):
            raise ValueError("method 'ward' needs groups, and groups need method 'ward'")
        for name, steps in self.groups.items():
            if len(steps) != self.steps or not steps:
                raise ValueError(f"groups must have equally many steps for every layer; {name!r} has {len(steps)}")
            if any(not (0 < value < 1 or (value >= 1 and value == int(value))) for value in steps):
                raise ValueError(f"groups of {name!r} must be whole numbers ≥ 1 or shares between 0 and 1")
        return self
