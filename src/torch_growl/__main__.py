"""``python -m torch_growl`` is the command ``growl``."""

from torch_growl.application.command import main

main()
