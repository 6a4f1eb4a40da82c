"""Make attention.npz: outputs and gradients of PyTorch's nn.MultiheadAttention in float64.

    python tests/golden/make_attention.py

needs torch, which the tests do not; the committed file was made with 2.13.0.
"""

from pathlib import Path

import numpy as np
import torch

E, N, TQ, TK, B = 6, 2, 4, 5, 3


def case(seed, bias, self_attention, **options):
    """One call: what goes in and what comes out, by slashed name."""
    rng = np.random.default_rng(seed)
    module = torch.nn.MultiheadAttention(E, N, bias=bias, dtype=torch.float64)
    module.load_state_dict(
        {name: torch.tensor(rng.standard_normal(p.shape)) for name, p in module.state_dict().items()}
    )
    x = [torch.tensor(rng.standard_normal((T, B, E)), requires_grad=True) for T in (TQ, TK, TK)]
    x = x[:1] if self_attention else x
    query, key, value = x * 3 if self_attention else x
    given = {name: torch.tensor(array) for name, array in options.items()}
    y, weights = module(query, key, value, average_attn_weights=False, **given)
    dy = rng.standard_normal(y.shape)
    (y * torch.tensor(dy)).sum().backward()
    arrays = {f"in/{name}": array for name, array in options.items()} | {"in/dy": dy, "out/y": y}
    arrays["out/weights"] = weights
    for name, array in zip(("query", "key", "value"), x, strict=False):
        arrays |= {f"in/{name}": array, f"out/d{name}": array.grad}
    for name, p in module.named_parameters():
        arrays |= {f"params/{name}": p, f"grads/{name}": p.grad}
    return {name: a.detach().numpy() if isinstance(a, torch.Tensor) else a for name, a in arrays.items()}


def main():
    rng = np.random.default_rng(0)
    padding = np.arange(TK) >= np.array([2, 5, 1])[:, None]
    hidden = rng.random((TQ, TK)) < 0.3
    hidden[:, 0] = False
    cases = {
        "self": case(1, True, True),
        "causal": case(2, True, True, attn_mask=np.triu(np.ones((TQ, TQ), bool), 1)),
        "cross": case(3, False, False, key_padding_mask=padding),
        "masked": case(4, True, False, attn_mask=hidden),
        "added": case(5, True, False, attn_mask=rng.standard_normal((B * N, TQ, TK))),
    }
    arrays = {f"{name}/{key}": a for name, arrays in cases.items() for key, a in arrays.items()}
    np.savez_compressed(Path(__file__).with_name("attention.npz"), **arrays)


if __name__ == "__main__":
    main()
