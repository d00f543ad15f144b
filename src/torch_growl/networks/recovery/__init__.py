"""Recovery of a smaller network: normalisations estimated anew, an average of the weights, features as a guide."""

from torch_growl.networks.recovery.feature_distance import FeatureDistance
from torch_growl.networks.recovery.recalibration import recalibrate_
from torch_growl.networks.recovery.weight_average import WeightAverage

__all__ = ["FeatureDistance", "WeightAverage", "recalibrate_"]
