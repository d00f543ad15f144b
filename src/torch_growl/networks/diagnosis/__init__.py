"""The diagnosis of a network before training: its layers, the least that can be left, the effect of a strength."""

from torch_growl.networks.diagnosis.network_diagnosis import Diagnosis, doctor

__all__ = ["Diagnosis", "doctor"]
