"""Torch's transformer layers, which read the weights of the layers inside them by themselves.

In eval mode without gradients, :class:`torch.nn.TransformerEncoderLayer` does not call the layers inside it (its *fast
path*), and :class:`torch.nn.TransformerEncoder` turns a padded batch into a nested tensor, whose padding is zero in the
output. :class:`torch.nn.MultiheadAttention` never calls its output projection, and cannot have another number of heads
than its width allows; :class:`FewerHeads` can.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

__all__ = ["FewerHeads", "fast_path", "has_fast_path", "pack_heads_", "unpack_heads_"]


@contextmanager
def fast_path(enabled: bool) -> Iterator[None]:
    """Turn torch's fast path on or off in the block, as ``torch.backends.mha.set_fastpath_enabled`` does."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def has_fast_path(model: nn.Module) -> bool:
    """Tell whether a network has transformer layers of torch, which run in two ways."""
    return any(isinstance(module, nn.TransformerEncoderLayer) for module in model.modules())


class FewerHeads(nn.MultiheadAttention):
    """An ``nn.MultiheadAttention`` with any number of heads, which calls its output projection.

    It has the same parameters and the same arguments. The number of heads is that of its projections' outputs. Weights
    that are returned are those of the heads that it has.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the attention's output and weights, as ``nn.MultiheadAttention`` does."""
        if query.is_nested:
            return self._nested(query, need_weights, average_attn_weights)
        if is_causal and attn_mask is None:
            raise RuntimeError("is_causal needs attn_mask, as in nn.MultiheadAttention")
        batched, whole = query.dim() == 3, query is key and key is value
        inputs = [query] if whole else [query, key, value]
        if not batched:
            inputs = [x.unsqueeze(0) for x in inputs]
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            inputs = [x.transpose(0, 1) for x in inputs]
        q, k, v = (self._heads(number, inputs[0 if whole else number]) for number in range(3))
        hinted = is_causal and key_padding_mask is None and not need_weights
        mask = None if hinted else _joined(attn_mask, key_padding_mask, q)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
            weights = F.dropout(torch.softmax(scores if mask is None else scores + mask, dim=-1), dropout)
            y = weights @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, mask, dropout, hinted)
        y = self.out_proj(y.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(dim=1)
        if not batched:
            return y.squeeze(0), None if weights is None else weights.squeeze(0)
        return (y if self.batch_first else y.transpose(0, 1)), weights

    def macs(self, query: Tensor, key: Tensor, value: Tensor) -> int:
        """Count the multiply-adds of a call, without those of the output projection."""
        width: int = self.num_heads * self.head_dim
        queries, keys = query.numel() // query.shape[-1], key.shape[1 if self.batch_first and key.dim() == 3 else 0]
        return width * (query.numel() + key.numel() + value.numel() + 2 * queries * keys)

    def _heads(self, number: int, x: Tensor) -> Tensor:
        """Queries (0), keys (1) or values (2) of every head: ``(batch, heads, length, size)``."""
        if self.in_proj_weight is None:
            weight = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)[number]
        else:
            weight = self.in_proj_weight.chunk(3)[number]
        bias = None if self.in_proj_bias is None else self.in_proj_bias.chunk(3)[number]
        heads: Tensor = F.linear(x, weight, bias).unflatten(-1, (-1, self.head_dim))
        return heads.transpose(1, 2)

    def _nested(self, x: Tensor, need_weights: bool, average: bool) -> tuple[Tensor, Tensor | None]:
        """Attend in sequences of several lengths, which torch's fast path of an encoder gives."""
        lengths = [len(one) for one in x.unbind()]
        padded = torch.nested.to_padded_tensor(x, 0.0)
        padding = torch.arange(padded.shape[1], device=x.device) >= torch.tensor(lengths, device=x.device)[:, None]
        y, weights = self(padded, padded, padded, padding, need_weights, None, average)
        return torch.nested.as_nested_tensor([own[:n] for own, n in zip(y, lengths, strict=True)]), weights


def _joined(attn_mask: Tensor | None, padding: Tensor | None, q: Tensor) -> Tensor | None:
    """The sum of an attention mask and one of padded keys, as ``(batch or 1, heads or 1, queries or 1, keys)``."""
    if attn_mask is not None and attn_mask.dim() == 3:
        wanted = q.shape[0] * q.shape[1]
        if attn_mask.shape[0] != wanted:
            raise RuntimeError(
                f"the first size of a 3D attn_mask must be {wanted}, batch times heads: {attn_mask.shape}"
            )
        attn_mask = attn_mask.unflatten(0, q.shape[:2])
    elif attn_mask is not None:
        attn_mask = attn_mask[None, None]
    masks = [mask for mask in (attn_mask, None if padding is None else padding[:, None, None]) if mask is not None]
    found = [
        torch.zeros_like(m, dtype=q.dtype).masked_fill(m, -torch.inf) if m.dtype == torch.bool else m for m in masks
    ]
    return None if not found else found[0] + found[1] if len(found) == 2 else found[0]


def unpack_heads_(model: nn.Module) -> list[str]:
    """Make attentions of torch call their output projections, so that heads can be removed; outputs are the same.

    Attentions of other types (subclasses), and those with ``add_bias_kv`` or ``add_zero_attn``, stay as they are.

    Args:
        model: modified in place; :func:`pack_heads_` undoes it.

    Returns:
        The names of all attentions that now do.
    """
    for module in model.modules():
        if type(module) is nn.MultiheadAttention and module.bias_k is None and not module.add_zero_attn:
            module.__class__ = FewerHeads
            module.out_proj.__class__ = nn.Linear  # type: ignore[assignment]
    return [name for name, module in model.named_modules() if type(module) is FewerHeads]


def pack_heads_(model: nn.Module) -> None:
    """Make torch's own attentions of those that have all of their heads and a whole output projection again.

    Args:
        model: modified in place.
    """
    for module in model.modules():
        if type(module) is FewerHeads:
            queries = module.q_proj_weight if module.in_proj_weight is None else module.in_proj_weight.chunk(3)[0]
            width, last = len(queries), module.out_proj
            module.num_heads = width // module.head_dim
            whole = (module.embed_dim, module.embed_dim)
            if width == module.embed_dim and type(last) is nn.Linear and last.weight.shape == whole:
                module.__class__ = nn.MultiheadAttention  # type: ignore[assignment]
                last.__class__ = NonDynamicallyQuantizableLinear
