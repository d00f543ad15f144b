"""Ring 4: the library inside people's trainers; imported by path, ``torch_growl.integrations.lightning``.

It has modules and no rooms. ``transformers`` and ``lightning`` have a ``GrowlCallback`` each, for the trainer of that
name; importing one imports its package, which is an extra. ``phases`` has what both share.

Third parties: numpy, torch.
Optional packages: lightning, transformers.
"""
