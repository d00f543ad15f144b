"""Writing of recipes: fields explained, the page on all fields, a recipe for a network of one's own."""

from torch_growl.application.authoring.doctor_inputs import network_and_example
from torch_growl.application.authoring.explanation import explained_recipe
from torch_growl.application.authoring.proposal import propose
from torch_growl.application.authoring.reference import field_reference

__all__ = ["explained_recipe", "field_reference", "network_and_example", "propose"]
