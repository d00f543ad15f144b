"""Ring 2: what is done to an ``nn.Module`` or an optimizer.

Rooms in the order of their imports; rooms on one line never import each other:

* ``sharding``: weights that are spread over processes, sums over their parts
* ``layers``: layer types and their rows, which layers of a network have rows, plain copies
* ``execution``: example inputs, comparison of outputs, proof that two networks agree, the timer
* ``wiring``: one recorded run, which channels of which layers are coupled, which channels are needed
* ``optimizers``: the length of an optimizer's steps along the gradient, which optimizers are refused
* ``moments``: second moments of what layers read, least squares on them, rows that are alike by them
* ``tying``: tied rows, found and trained
* ``compaction``: the structure of the smaller network, its plan, its making, and training that goes on in it
* ``exporting``: ONNX, torch.export and ExecuTorch files
* ``storage``: the compact file and the program beside it
* ``measurement``: weights, bytes, MACs and latency
* ``targets``: what is to be left, counting what would be left, and the rows that have to go for it
* ``paths``: the smallest network within an accuracy drop, by trials whose path is kept
* ``channels``: whole channels as rows: everything that reads a channel and everything that makes it
* ``shrinking``: a smaller network without training: which channels go, what the rest takes over
* ``penalty``: the GrOWL penalty and its step after the optimizer's
* ``recovery``: normalisations estimated anew, an average of the weights, features as a guide
* ``diagnosis``: which layers can shrink, what can be reached and what a strength does, before training

Third parties: numpy, safetensors, scipy, torch.
Optional packages, imported in the functions that need them: executorch, onnx, onnx_ir, onnxruntime, onnxscript.
"""
