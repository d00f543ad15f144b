"""Ring 4: the library inside people's trainers; imported by path, ``torch_growl.integrations.lightning``.

It has modules and no rooms. ``transformers`` and ``lightning`` have a ``GrowlCallback`` each, for the trainer of that
name; importing one imports its package, which is an extra. ``phases`` and ``recovery`` have what both share;
``distilled_outputs`` is for the former.

Third parties: torch.
Optional packages: lightning, transformers.
"""
