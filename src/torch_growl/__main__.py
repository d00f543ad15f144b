"""``python -m torch_growl`` is the command ``growl``."""

from torch_growl.cli import main

main()
