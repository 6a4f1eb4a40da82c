"""Make transformer.npz: outputs and gradients of PyTorch's nn.TransformerEncoderLayer in float64.

    python tests/golden/make_transformer.py

needs torch, which the tests do not; the committed file was made with 2.13.0.
"""

from pathlib import Path

import numpy as np
import torch

E, N, F, T, B = 6, 2, 5, 4, 3


def case(seed, activation, norm_first, padding=None):
    """One call: what goes in and what comes out, by slashed name."""
    rng = np.random.default_rng(seed)
    module = torch.nn.TransformerEncoderLayer(
        E, N, F, dropout=0, activation=activation, norm_first=norm_first, dtype=torch.float64
    )
    module.load_state_dict(
        {name: torch.tensor(rng.standard_normal(p.shape)) for name, p in module.state_dict().items()}
    )
    x = torch.tensor(rng.standard_normal((T, B, E)), requires_grad=True)
    hidden = None if padding is None else torch.tensor(padding)
    y = module(x, src_key_padding_mask=hidden)
    dy = rng.standard_normal(y.shape)
    (y * torch.tensor(dy)).sum().backward()
    arrays = {"in/src": x, "in/dy": dy, "out/y": y, "out/dsrc": x.grad}
    if padding is not None:
        arrays["in/padding"] = padding
    for name, p in module.named_parameters():
        arrays |= {f"params/{name}": p, f"grads/{name}": p.grad}
    return {name: a.detach().numpy() if isinstance(a, torch.Tensor) else a for name, a in arrays.items()}


def main():
    padding = np.arange(T) >= np.array([2, 4, 1])[:, None]
    cases = {"relu": case(1, "relu", False), "gelu-first": case(2, "gelu", True, padding)}
    arrays = {f"{name}/{key}": a for name, arrays in cases.items() for key, a in arrays.items()}
    np.savez_compressed(Path(__file__).with_name("transformer.npz"), **arrays)


if __name__ == "__main__":
    main()
