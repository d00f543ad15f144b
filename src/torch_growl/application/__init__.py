"""Ring 3: the command ``growl`` and what it needs.

Rooms in the order of their imports:

* ``plots``: figures drawn by matplotlib, in notebooks and for the report
* ``pages``: parts of HTML pages: charts as inline SVG, the style sheet, templates
* ``recipes``: fields and loading of recipes, the table of stages, ``package.module:function``, built-in recipes
* ``tasks``: for each task its labels, outputs, loss and metric
* ``reports``: the HTML report, its figures and summary, made from the files of a run
* ``data``: digits, MNIST, CIFAR-10 and their splits
* ``models``: the reference networks
* ``training``: one training of a network: processes, learning rate, epochs, the metric
* ``runs``: the run folder, the stages, evaluation, the sweep
* ``studies``: many runs with other settings, on Optuna's storage, by any number of workers
* ``authoring``: recipes explained field by field, the page on all fields, a recipe for a network of one's own
* ``command``: the command ``growl``

Third parties: accelerate, jinja2, matplotlib, numpy, pydantic, rich, safetensors, sklearn, torch, typer, yaml.
Optional packages, imported in the functions that need them: optuna, tensorboard.
"""
