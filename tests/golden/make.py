"""Make pytorch.npz: numbers computed by other people's code, to compare the reference and the kernels with.

    python tests/golden/make.py

needs torch, onnx and onnxruntime, which the tests do not; the committed file was made with 2.13.0, 1.23.2 and
1.32.0. PyTorch has no reset-before GRU: its outputs come from ONNX Runtime, in float32 and forward only, and
its gradients from the autograd of PyTorch on the formula of the paper written out.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

T, B, N_IN, H, P = 5, 3, 4, 3, 2
LENGTHS = np.array([3, 5, 1])  # not sorted; PyTorch refuses 0
TORCH = {
    "lstm": torch.nn.LSTM,
    "gru": torch.nn.GRU,
    "rnn_tanh": torch.nn.RNN,
    "rnn_relu": lambda *a, **k: torch.nn.RNN(*a, **k, nonlinearity="relu"),
}
GATES = {"lstm": 4, "gru": 3, "gru_before": 3, "rnn_tanh": 1, "rnn_relu": 1}


def problem(seed, cell, layers, directions, bias=True, projected=False):
    """Random, hence asymmetric: with constant weights a permuted gate would go unseen."""
    rng = np.random.default_rng(seed)
    params, out, slots = {}, P if projected else H, layers * directions

    def states():
        if projected:  # of two widths, so apart
            return rng.standard_normal((slots, B, P)), rng.standard_normal((slots, B, H))
        return rng.standard_normal((2 if cell == "lstm" else 1, slots, B, H))

    for layer in range(layers):
        for suffix in ("", "_reverse")[:directions]:
            rows, n_in = GATES[cell] * H, directions * out if layer else N_IN
            params[f"weight_ih_l{layer}{suffix}"] = rng.standard_normal((rows, n_in))
            params[f"weight_hh_l{layer}{suffix}"] = rng.standard_normal((rows, out))
            if bias:
                params[f"bias_ih_l{layer}{suffix}"] = rng.standard_normal(rows)
                params[f"bias_hh_l{layer}{suffix}"] = rng.standard_normal(rows)
            if projected:
                params[f"weight_hr_l{layer}{suffix}"] = rng.standard_normal((P, H))
    return {
        "x": rng.standard_normal((T, B, N_IN)),
        "state": states(),
        "dy": rng.standard_normal((T, B, directions * out)),
        "dstate": states(),
        "params": params,
    }


def apart(arrays):
    """A tuple's parts under the name with their number."""
    found = {}
    for name, value in arrays.items():
        found |= (
            {f"{name}/{q}": a for q, a in enumerate(value)} if isinstance(value, tuple) else {name: value}
        )
    return found


def flat(given, lengths, expected):
    """One case as the loader wants it: arrays by slashed name."""
    arrays = apart({f"in/{name}": a for name, a in given.items() if name != "params"})
    arrays |= {f"params/{name}": a for name, a in given["params"].items()}
    if lengths is not None:
        arrays["in/lengths"] = lengths
    return arrays | {f"out/{name}": a for name, a in expected.items()}


def differentiate(y, final, given, x, state, params):
    loss = (y * torch.tensor(given["dy"])).sum()
    for part, d in zip(final, given["dstate"], strict=True):
        loss = loss + (part * torch.tensor(d)).sum()
    loss.backward()

    def together(parts):
        arrays = tuple(part.detach().numpy() for part in parts)
        return arrays if isinstance(given["state"], tuple) else np.stack(arrays)

    expected = {"y": y, "dx": x.grad} | {f"grads/{name}": p.grad for name, p in params.items()}
    states = {"final_state": together(final), "dstate": together(part.grad for part in state)}
    return apart(states) | {name: a.detach().numpy() for name, a in expected.items()}


def by_pytorch(cell, given, layers, directions, lengths=None):
    options = {"bias": any("bias" in name for name in given["params"]), "bidirectional": directions == 2}
    if "weight_hr_l0" in given["params"]:
        options["proj_size"] = P
    module = TORCH[cell](N_IN, H, layers, **options, dtype=torch.float64)
    module.load_state_dict({name: torch.tensor(a) for name, a in given["params"].items()})
    x = torch.tensor(given["x"], requires_grad=True)
    state = [torch.tensor(part, requires_grad=True) for part in given["state"]]
    s = tuple(state) if cell == "lstm" else state[0]
    if lengths is None:
        y, final = module(x, s)
    else:
        packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
        y, final = module(packed, s)
        y = pad_packed_sequence(y, total_length=T)[0]
    final = final if cell == "lstm" else (final,)
    return flat(given, lengths, differentiate(y, final, given, x, state, dict(module.named_parameters())))


def by_formula(given):
    """gru_before, one layer: the equations of Cho et al. 2014, without a thought for speed."""
    x, h0 = (torch.tensor(a, requires_grad=True) for a in (given["x"], given["state"][0]))
    params = {name: torch.tensor(a, requires_grad=True) for name, a in given["params"].items()}
    W_r, W_z, W_n = params["weight_ih_l0"].split(H)
    R_r, R_z, R_n = params["weight_hh_l0"].split(H)
    b_r, b_z, b_n = (params["bias_ih_l0"] + params["bias_hh_l0"]).split(H)
    h, y = h0[0], []
    for x_t in x:
        r = torch.sigmoid(x_t @ W_r.T + h @ R_r.T + b_r)
        z = torch.sigmoid(x_t @ W_z.T + h @ R_z.T + b_z)
        n = torch.tanh(x_t @ W_n.T + (r * h) @ R_n.T + b_n)
        h = z * h + (1 - z) * n
        y.append(h)
    return flat(given, None, differentiate(torch.stack(y), (h[None],), given, x, [h0], params))


def by_onnxruntime(given, directions, lengths=None):
    """gru_before, one layer, by ONNX's GRU with linear_before_reset = 0. Its gates are in the order z r n."""
    small = {name: given[name].astype(np.float32) for name in ("x", "state")}
    small["params"] = {name: a.astype(np.float32) for name, a in given["params"].items()}
    zrn = np.r_[H : 2 * H, :H, 2 * H : 3 * H]

    def stacked(name):
        suffixes = ("", "_reverse")[:directions]
        return np.stack([small["params"][f"{name}_l0{suffix}"][zrn] for suffix in suffixes])

    constants = {
        "W": stacked("weight_ih"),
        "R": stacked("weight_hh"),
        "B": np.concatenate([stacked("bias_ih"), stacked("bias_hh")], axis=1),
        "lengths": np.asarray(np.full(B, T) if lengths is None else lengths, np.int32),
        "h0": small["state"][0],
    }
    node = onnx.helper.make_node(
        "GRU",
        ["x", *constants],
        ["y", "h"],
        hidden_size=H,
        linear_before_reset=0,
        direction="bidirectional" if directions == 2 else "forward",
    )
    real = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node],
        "gru",
        [onnx.helper.make_tensor_value_info("x", real, small["x"].shape)],
        [onnx.helper.make_tensor_value_info(name, real, None) for name in ("y", "h")],
        [onnx.numpy_helper.from_array(a, name) for name, a in constants.items()],
    )
    opset = onnx.helper.make_opsetid("", 14)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    y, h = session.run(None, {"x": small["x"]})  # y (T, D, B, H)
    y = y.transpose(0, 2, 1, 3).reshape(T, B, directions * H)
    return flat(small, lengths, {"y": y, "final_state": h[None]})


def main():
    made = {}
    for k, cell in enumerate(TORCH):
        made[f"{cell}-single"] = by_pytorch(cell, problem(10 * k, cell, 1, 1), 1, 1)
        made[f"{cell}-nobias"] = by_pytorch(cell, problem(10 * k + 1, cell, 1, 1, bias=False), 1, 1)
        made[f"{cell}-stack"] = by_pytorch(cell, problem(10 * k + 2, cell, 2, 2), 2, 2)
        made[f"{cell}-packed"] = by_pytorch(cell, problem(10 * k + 3, cell, 2, 2), 2, 2, LENGTHS)
    made["lstm-projected"] = by_pytorch("lstm", problem(4, "lstm", 1, 1, projected=True), 1, 1)
    several = problem(5, "lstm", 2, 2, projected=True)
    made["lstm-projected_packed"] = by_pytorch("lstm", several, 2, 2, LENGTHS)
    made["gru_before-formula"] = by_formula(problem(40, "gru_before", 1, 1))
    made["gru_before-onnx"] = by_onnxruntime(problem(41, "gru_before", 1, 1), 1)
    made["gru_before-onnx_packed"] = by_onnxruntime(problem(42, "gru_before", 1, 2), 2, LENGTHS)
    arrays = {f"{case}/{name}": a for case, parts in made.items() for name, a in parts.items()}
    np.savez_compressed(Path(__file__).with_name("pytorch.npz"), **arrays)


if __name__ == "__main__":
    main()
