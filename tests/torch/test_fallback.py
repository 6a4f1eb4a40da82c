"""What pyrnn.torch's modules leave to PyTorch's own code, and what they refuse."""

import pytest
import torch

import pyrnn.torch

from .twins import B, H, I, T, assert_equal, twins

kinds = pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])


def ran_here(module):
    return module._engine is not None if "_engine" in vars(module) else False


def test_other_dtypes_are_left_to_pytorch():
    theirs, ours = twins("LSTM", dtype=torch.bfloat16)
    x = torch.randn(T, B, I, dtype=torch.bfloat16)
    assert torch.equal(ours(x)[0], theirs(x)[0]) and not ran_here(ours)


def test_autocast_is_left_to_pytorch():
    theirs, ours = twins("LSTM", dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y, expected = (module(torch.ones(T, B, I))[0] for module in (ours, theirs))
    assert y.dtype == expected.dtype and torch.equal(y, expected) and not ran_here(ours)


def test_other_devices_are_left_to_pytorch():
    ours = pyrnn.torch.GRU(I, H, device="meta")
    assert ours(torch.empty(T, B, I, device="meta"))[0].shape == (T, B, H) and not ran_here(ours)


def test_an_empty_batch_is_left_to_pytorch():
    theirs, ours = twins("GRU")
    x = torch.zeros(T, 0, I, dtype=torch.float64)
    assert ours(x)[0].shape == theirs(x)[0].shape == (T, 0, H) and not ran_here(ours)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit.*deprecated")
def test_transformations_are_left_to_pytorch():
    theirs, ours = twins("GRU", 3, 4)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    slopes = [torch.func.grad(lambda x, m=module: m(x)[0].sum())(x) for module in (ours, theirs)]
    assert_equal(slopes[:1], slopes[1:])
    traced = torch.jit.trace(ours, x, check_trace=False)
    assert "gru" in str(traced.inlined_graph) and not ran_here(ours)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")
def test_forward_mode_is_left_to_pytorch():
    theirs, ours = twins("GRU", 3, 4)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        tangents = [torch.autograd.forward_ad.unpack_dual(m(dual)[0]).tangent for m in (ours, theirs)]
    assert_equal(tangents[:1], tangents[1:])
    assert not ran_here(ours)


def test_gradients_of_gradients_are_refused():
    """Even where dy is constant: a penalty on gradients must not be without effect."""
    _, ours = twins("LSTM")
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(ours(x)[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no double backward"):
        slope.square().sum().backward()


BAD = {
    "x of four axes": ((2, 3, 4, I), None),
    "x of other features": ((T, B, I + 1), None),
    "state of another batch": ((T, B, I), (1, B + 1, H)),
    "state without batch": ((T, B, I), (1, H)),
    "state with batch": ((T, I), (1, 1, H)),
    "no steps": ((0, B, I), None),
}


@kinds
@pytest.mark.parametrize("case", BAD)
def test_errors_are_those_of_pytorch(kind, case):
    x, state = BAD[case]
    x, state = torch.zeros(x).double(), None if state is None else torch.zeros(state).double()
    hx = (state, state) if kind == "LSTM" and state is not None else state
    messages = []
    for module in twins(kind):
        with pytest.raises((RuntimeError, ValueError)) as caught:
            module(x, hx)
        messages.append((type(caught.value), str(caught.value)))
    assert messages[0] == messages[1]
