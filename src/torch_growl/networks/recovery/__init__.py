"""Recovery of a smaller network: batch norms estimated anew, averages of weights, a teacher's outputs, features."""

from torch_growl.networks.recovery.feature_distance import FeatureDistance
from torch_growl.networks.recovery.output_distance import (
    DISTANCES,
    class_distance,
    label_distance,
    predictions_in,
    token_distance,
    value_distance,
)
from torch_growl.networks.recovery.recalibration import recalibrate_
from torch_growl.networks.recovery.weight_average import WeightAverage

__all__ = [
    "DISTANCES",
    "FeatureDistance",
    "WeightAverage",
    "class_distance",
    "label_distance",
    "predictions_in",
    "recalibrate_",
    "token_distance",
    "value_distance",
]
