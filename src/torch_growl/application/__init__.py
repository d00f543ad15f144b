"""Ring 3: the command ``growl`` and what it needs.

Rooms in the order of their imports:

* ``recipes``: the fields of a recipe, reading YAML, ``package.module:function``, the built-in recipes
* ``reports``: the HTML report, its figures and summary, made from a run's files
* ``data``: the readers of digits, MNIST and CIFAR-10, and their splits
* ``models``: the reference networks
* ``runs``: the run folder, the stages of a run, training, evaluation, the sweep
* ``command``: the command line

Third parties: accelerate, jinja2, matplotlib, numpy, pydantic, rich, safetensors, sklearn, torch, typer, yaml.
"""
