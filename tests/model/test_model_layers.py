"""Building blocks: the split attention is the fused one; stems and decoders keep their strides."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from armseg_core.model.layers import ConvBlock, LayerNorm2d, SplitMHA, resize, zero_init


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dim", "heads", "tokens", "batch"), [(24, 3, 7, 2), (64, 4, 197, 1), (30, 5, 1, 3)])
@pytest.mark.parametrize("mask", [None, "causal", "float", "bool"])
def test_split_attention_equals_the_fused_one(dim, heads, tokens, batch, bias, mask) -> None:
    torch.manual_seed(0)
    fused = nn.MultiheadAttention(dim, heads, bias=bias, batch_first=True)
    with torch.no_grad():
        for parameter in fused.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))  # biases start at zero
    split = SplitMHA.from_fused(fused)
    x = torch.randn(batch, tokens, dim)
    masks = {
        None: None,
        "causal": torch.full((tokens, tokens), float("-inf")).triu(1),
        "float": torch.randn(tokens, tokens),
        "bool": ~torch.eye(tokens, dtype=torch.bool) if tokens > 1 else torch.zeros(1, 1, dtype=torch.bool),
    }
    given = masks[mask]
    expected = fused(x, x, x, need_weights=False, attn_mask=given)[0]
    # MultiheadAttention: True = not allowed; scaled_dot_product_attention: True = allowed
    got, weights = split(x, x, x, need_weights=False, attn_mask=~given if mask == "bool" else given)
    assert weights is None
    assert (got - expected).abs().max() < 1e-5


def test_split_attention_equals_the_fused_one_across_two_sequences() -> None:
    torch.manual_seed(0)
    fused = nn.MultiheadAttention(16, 2, batch_first=True)
    q, kv = torch.randn(2, 5, 16), torch.randn(2, 9, 16)
    split = SplitMHA.from_fused(fused)
    assert (split(q, kv, kv)[0] - fused(q, kv, kv)[0]).abs().max() < 1e-5


def test_split_attention_keeps_dtype_and_refuses_what_it_cannot_equal() -> None:
    half = SplitMHA.from_fused(nn.MultiheadAttention(16, 2, batch_first=True).to(torch.bfloat16))
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    for other in (
        nn.MultiheadAttention(16, 2, batch_first=False),
        nn.MultiheadAttention(16, 2, batch_first=True, kdim=8, vdim=8),
        nn.MultiheadAttention(16, 2, batch_first=True, add_bias_kv=True),
    ):
        with pytest.raises(ValueError, match="batch-first"):
            SplitMHA.from_fused(other)


def test_layer_norm_of_a_map_is_layer_norm_of_each_place() -> None:
    norm, x = LayerNorm2d(6), torch.randn(2, 6, 3, 5)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
    place = nn.functional.layer_norm(x[1, :, 2, 4], (6,), norm.weight, norm.bias, norm.eps)
    assert torch.allclose(norm(x)[1, :, 2, 4], place, atol=1e-6)


@pytest.mark.parametrize(("size", "stride", "expected"), [((9, 12), 1, (9, 12)), ((9, 12), 2, (5, 6))])
def test_conv_block_size(size, stride, expected) -> None:
    assert ConvBlock(3, 9, stride)(torch.randn(1, 3, *size)).shape == (1, 9, *expected)


def test_zero_init_and_resize_do_nothing() -> None:
    assert not zero_init(nn.Linear(3, 4))(torch.randn(5, 3)).any()
    assert not zero_init(nn.Conv2d(3, 4, 1, bias=False))(torch.randn(1, 3, 2, 2)).any()
    x = torch.randn(1, 2, 3, 4)
    assert resize(x, (3, 4)) is x
    assert resize(x, x.shape[-2:]) is x
