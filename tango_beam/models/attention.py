"""Attention of packed texts on a processor: of texts of one length, so without a mask.

In bf16 plain products take half to three quarters of the time of torch's fused kernel at 512
tokens, and half of it where a network adds a bias for distances (MPNet; an AMD EPYC with AVX-512
BF16). In fp32 they are faster where there is a bias.

oneDNN makes a kernel for every shape of a product in bf16, in a third of a millisecond, and keeps
few of them (`machine.bound_kernels`). Long texts, most of which have a length of their own, are
padded to a multiple of 16.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.nn import functional

# Tokens in a text up to which it is not padded, and a bias is laid out for its length.
_SHORT = 128
_MULTIPLE = 16
# Tokens in a text from which on scores would take much memory, which the fused kernel does not.
_LONGEST = 1024
# Scores that stay in a core's cache from their product to the next one, in bf16 and in fp32.
_CACHED = 1 << 20, 1 << 18


def attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Scaled dot-product attention, shapes [rows, heads, tokens, width].

    Args:
      query: of all tokens, or of the first one.
      key: of all tokens.
      value: of all tokens.
      bias: added to the scores, shape [heads, queries, keys].
    """
    rows, heads, queries, _ = query.shape
    keys, bf16 = key.shape[2], query.dtype == torch.bfloat16
    in_parts = bf16 and (keys <= _SHORT or queries > 1)
    if bias is None and not (in_parts and keys <= _LONGEST):
        return functional.scaled_dot_product_attention(query, key, value)
    if bias is not None and not (in_parts and keys > _SHORT):
        together = max(1, _most_scores(query) // (rows * queries * keys))
        pieces = (whole.split(together, dim=1) for whole in (query, key, value))
        found = [_biased(*piece) for piece in zip(*pieces, bias.split(together), strict=True)]
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)
    query, key, value = (with_padding(whole.flatten(0, 1)) for whole in (query, key, value))
    mixed = torch.empty_like(query)
    for part, weights in weights_in_parts(query, key, heads, keys, bias):
        torch.bmm(weights, value[part], out=mixed[part])
    return mixed.unflatten(0, (rows, heads))[:, :, :queries]


def padding(part: torch.Tensor, above: int = _SHORT) -> int:
    """Tokens that are added to each of some texts of one length.

    Args:
      part: shape [..., tokens, width].
      above: tokens in a text up to which it is not padded.
    """
    tokens = part.shape[-2]
    return -tokens % _MULTIPLE if tokens > above and part.dtype == torch.bfloat16 else 0


def with_padding(part: torch.Tensor, above: int = _SHORT) -> torch.Tensor:
    """Texts of one length with zeros behind their tokens (see `padding`)."""
    padded = padding(part, above)
    return functional.pad(part, (0, 0, 0, padded)) if padded else part


def laid_out(parts: Sequence[torch.Tensor], above: int = _SHORT) -> torch.Tensor:
    """Texts of one length, heads side by side, with zeros behind their tokens (see `padding`).

    Args:
      parts: queries, keys and values, shape [rows, tokens, heads, width].
      above: as for `padding`.

    Returns:
      Shape [parts, rows x heads, tokens, width], padding counted.
    """
    rows, tokens, heads, width = parts[0].shape
    padded = tokens + padding(parts[0].transpose(1, 2), above)
    whole = parts[0].new_empty(len(parts), rows, heads, padded, width)
    whole[:, :, :, tokens:] = 0
    for place, part in zip(whole, parts, strict=True):
        place[:, :, :tokens] = part.transpose(1, 2)
    return whole.flatten(1, 2)


def weights_in_parts(
    query: torch.Tensor,
    key: torch.Tensor,
    heads: int,
    keys: int,
    bias: torch.Tensor | None = None,
) -> Iterator[tuple[slice, torch.Tensor]]:
    """What each query gives to each key, in all one, of a few heads at a time: a cache holds them.

    Args:
      query: shape [rows x heads, queries, width], padding counted.
      key: shape [rows x heads, keys, width], padding counted.
      heads: of a row.
      keys: how many are no padding.
      bias: added to the scores, shape [heads, queries, keys], padding not counted.

    Yields:
      Which of all rows' heads, and their weights, shape [heads, queries, keys], padding counted:
      what it gives means nothing, and it is given nothing.
    """
    key, scale = key.transpose(1, 2), query.shape[2] ** -0.5
    together = max(1, _most_scores(query) // (query.shape[1] * key.shape[2]))
    for part in _parts(len(query), heads, together, of_one=bias is not None):
        # The product scales its own sums, before it rounds them.
        unread = query.new_empty(())
        scores = torch.baddbmm(unread, query[part], key[part], beta=0, alpha=scale)
        if bias is not None:
            first = part.start % heads
            scores[:, : bias.shape[1], :keys] += bias[first : first + len(scores)]
        if scores.shape[2] > keys:
            scores[:, :, keys:] = -torch.inf
        yield part, scores.softmax(dim=-1)


def _parts(whole: int, heads: int, most: int, *, of_one: bool) -> Iterator[slice]:
    """Cuts the heads of all rows into parts of few sizes, since each size is a shape of its own.

    Args:
      whole: heads of all rows.
      heads: of a row.
      most: in a part.
      of_one: a part has no heads of two rows.
    """
    start = 0
    while start < whole:
        if of_one or most < heads:
            size = next(some for some in range(min(most, heads), 0, -1) if not heads % some)
        else:
            rows = min(most, whole - start) // heads
            size = heads << rows.bit_length() - 1
        yield slice(start, start + size)
        start += size


def _most_scores(query: torch.Tensor) -> int:
    return _CACHED[0 if query.dtype == torch.bfloat16 else 1]


def _biased(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    rows, heads, _, width = query.shape
    query, key, value = (part.reshape(-1, part.shape[2], width) for part in (query, key, value))
    scores = torch.bmm(query, key.transpose(1, 2))
    apart = scores.unflatten(0, (rows, heads))
    torch.add(bias, apart, alpha=width**-0.5, out=apart)
    return torch.bmm(scores.softmax(dim=-1), value).unflatten(0, (rows, heads))


def biases(by_distance: torch.Tensor, lengths: list[int]) -> list[torch.Tensor]:
    """The bias of every score, by its text's length, shape [heads, length, length].

    Args:
      by_distance: `encoder_layers.distance_bias`.
      lengths: of texts, at least one.
    """
    longest, middle = max(lengths), by_distance.shape[1] // 2
    # Query 0 sees distances 0, 1, ...; query 1 sees -1, 0, ...
    #     0  1  2
    #    -1  0  1
    #    -2 -1  0
    near = by_distance[:, middle - longest + 1 : middle + longest]
    whole = near.unfold(1, longest, 1).flip(1)
    # Long texts look into the one of the longest: their own ones would take much memory.
    parts = [whole[:, :length, :length] for length in lengths]
    return [part.contiguous() if part.shape[1] <= _SHORT else part for part in parts]
