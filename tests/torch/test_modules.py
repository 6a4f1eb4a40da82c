"""pyrnn.torch's modules against PyTorch's own: numbers, forms of input, and what a module is able to do."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import pyrnn
import pyrnn.torch

from .twins import B, H, I, T, assert_equal, results, state_for, twins

CONFIGURATIONS = 200
KINDS = ["LSTM", "GRU", "RNN"]
kinds = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def drawn(seed):
    """A random configuration, a module's options and a problem for it."""
    rng = np.random.default_rng(seed)
    kind = KINDS[rng.integers(3)]
    options = {
        "num_layers": int(rng.integers(1, 4)),
        "bidirectional": bool(rng.integers(2)),
        "bias": bool(rng.integers(2)),
        "batch_first": bool(rng.integers(2)),
        "dtype": [torch.float32, torch.float64][rng.integers(2)],
    }
    inputs, units = (int(n) for n in rng.integers(1, 40, 2))
    if kind == "LSTM" and units > 1 and rng.integers(2):
        options["proj_size"] = int(rng.integers(1, units))
    if kind == "RNN":
        options["nonlinearity"] = ["tanh", "relu"][rng.integers(2)]
    steps, batch = (int(n) for n in rng.integers(1, 12, 2))
    form = ["batch", "single", "packed", "sorted"][rng.integers(4)]
    lengths = None
    if form in ("packed", "sorted"):
        lengths = rng.integers(1, steps + 1, batch)
        lengths = np.sort(lengths)[::-1].copy() if form == "sorted" else lengths
    module = twins(kind, inputs, units, **options)
    shape = (batch, steps) if options["batch_first"] else (steps, batch)
    x = rng.standard_normal((*(shape if form != "single" else (steps,)), inputs))
    x = torch.from_numpy(x).to(options["dtype"])
    state = state_for(module[0], rng, () if form == "single" else (batch,)) if rng.integers(2) else None
    return module, x, state, lengths, form == "sorted"


@pytest.mark.parametrize("seed", range(CONFIGURATIONS))
def test_outputs_and_all_gradients_are_those_of_pytorch(seed):
    (theirs, ours), *problem = drawn(seed)
    assert_equal(results(ours, *problem), results(theirs, *problem))
    assert ours._engine is not None  # it was not PyTorch that ran


@kinds
def test_gradcheck(kind):
    """The gradients are those of the function, by central differences; None among them too."""
    _, ours = twins(kind, 3, 4, bidirectional=True, num_layers=2)
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((4, 2, 3))).requires_grad_()
    state = [part.requires_grad_() for part in state_for(ours, rng, (2,))]

    def call(x, *rest):
        hx = rest[: len(state)]
        y, final = ours(x, hx if len(hx) > 1 else hx[0])
        return y, *(final if isinstance(final, tuple) else (final,))

    assert torch.autograd.gradcheck(call, (x, *state, *ours.parameters()))


@kinds
def test_packed_in_is_packed_out(kind):
    theirs, ours = twins(kind)
    x = torch.randn(T, B, I, dtype=torch.float64)
    packed = pack_padded_sequence(x, torch.tensor([3, 9, 1, 4]), enforce_sorted=False)
    (y, _), (expected, _) = ours(packed), theirs(packed)
    assert isinstance(y, PackedSequence)
    for found, desired in zip(y[1:], expected[1:], strict=True):
        assert torch.equal(found, desired)


@pytest.mark.parametrize("way", ["slices", "transposed", "expanded", "every other"])
def test_strides_of_the_input_do_not_matter(way):
    theirs, ours = twins("GRU")
    wide = torch.randn(2 * T, B, 2 * I, dtype=torch.float64)
    x = {
        "slices": wide[:T, :, :I],
        "transposed": wide[:B, :B, :I].transpose(0, 1),
        "expanded": wide[:T, :1, :I].expand(T, B, I),
        "every other": wide[::2, :, ::2],
    }[way]
    x = x.requires_grad_()
    y, _ = ours(x)
    expected, _ = theirs(x)
    assert_equal([y.detach()], [expected.detach()])
    assert_equal(torch.autograd.grad(y.sum(), x), torch.autograd.grad(expected.sum(), x))


@kinds
def test_it_is_a_module_of_pytorch(kind):
    theirs, ours = twins(kind, num_layers=2, dropout=0.5)
    assert isinstance(ours, type(theirs)) and type(ours) is getattr(pyrnn.torch, kind)
    assert repr(ours) == repr(theirs)
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    made = getattr(pyrnn.torch, kind)(I, H, num_layers=2)
    before = made.weight_hh_l1.detach().clone()
    made.reset_parameters()
    assert not torch.equal(made.weight_hh_l1, before)


@kinds
def test_copies_and_files(kind):
    _, ours = twins(kind)
    x = torch.randn(T, B, I, dtype=torch.float64)
    y = ours(x)[0].detach()
    file = io.BytesIO()
    torch.save(ours, file)
    size = len(pickle.dumps(ours))
    file.seek(0)
    for twin in (
        copy.deepcopy(ours),
        pickle.loads(pickle.dumps(ours)),
        torch.load(file, weights_only=False),
    ):
        assert type(twin) is type(ours) and "_engine" not in vars(twin)
        assert torch.equal(twin(x)[0], y)
        with torch.no_grad():
            twin.weight_hh_l0.zero_()
        assert not torch.equal(twin(x)[0], y)
    assert torch.equal(ours(x)[0], y) and size == len(pickle.dumps(ours))


def test_dtype_may_change():
    _, ours = twins("LSTM", dtype=torch.float32)
    x = torch.randn(T, B, I)
    y = ours(x)[0]
    wide = ours.double()(x.double())[0]
    assert wide.dtype == torch.float64
    assert_equal([y.detach()], [wide.detach().float()])
    with pytest.raises(ValueError, match="does not match weight dtype"):
        ours(x)


# ---- memory and weights ----


def test_tensors_are_not_copied():
    """The kernels read the memory of x and write that of y and of the gradients."""
    from pyrnn.torch import _engine

    x = torch.randn(T, B, I)
    assert _engine.as_numpy(x).ctypes.data == x.data_ptr()
    y, _ = twins("GRU", dtype=torch.float32)[1](x)
    assert np.shares_memory(y.detach().numpy(), _engine.as_numpy(y))


WRITES = {
    "no_grad": lambda p: torch.no_grad()(lambda: p.add_(1))(),
    "data": lambda p: p.data.add_(1),
    "data.copy_": lambda p: p.data.copy_(p.data + 1),
    "numpy": lambda p: np.add(p.detach().numpy(), 1, out=p.detach().numpy()),
    "new data": lambda p: setattr(p, "data", p.data + 1),
    "one bit": lambda p: p.data.view(torch.int64).view(-1)[-1:].add_(1),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"])
def test_every_write_to_a_weight_is_seen(write, name):
    theirs, ours = twins("GRU")
    x = torch.randn(T, B, I, dtype=torch.float64)
    ours(x)
    for module in (theirs, ours):
        WRITES[write](getattr(module, name))
    assert_equal(results(ours, x), results(theirs, x))
    assert np.array_equal(ours._engine.layer.params[name], getattr(ours, name).detach())


def test_a_weight_may_be_turned_where_it_lies():
    theirs, ours = twins("GRU", 3 * 4, 4)
    x = torch.randn(T, B, 3 * 4, dtype=torch.float64)
    ours(x)
    for module in (theirs, ours):
        module.weight_ih_l0.data = module.weight_ih_l0.data.t()
    assert_equal(results(ours, x), results(theirs, x))


def test_weights_are_packed_once(monkeypatch):
    _, ours = twins("LSTM")
    x = torch.randn(T, B, I, dtype=torch.float64)
    packs = []
    pack = pyrnn.functional.pack
    monkeypatch.setattr(pyrnn.functional, "pack", lambda *args: packs.append(args) or pack(*args))
    for _ in range(3):
        results(ours, x)
        with torch.no_grad():
            ours(x)
    assert len(packs) == 2  # one to go forward, one to go back
    torch.optim.SGD(ours.parameters(), 0.1).step()
    results(ours, x)
    assert len(packs) == 4


def test_weights_may_change_before_backward():
    """The way back uses those of the forward pass."""
    _, ours = twins("GRU")
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(ours(x)[0].sum(), x)[0]
    y = ours(x)[0].sum()
    ours.weight_hh_l0.data.zero_()
    assert torch.equal(torch.autograd.grad(y, x)[0], expected)


def test_an_input_changed_before_backward_is_refused():
    _, ours = twins("GRU")
    x = torch.randn(T, B, I, dtype=torch.float64)
    y = ours(x)[0].sum()
    x.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_an_output_may_be_changed():
    theirs, ours = twins("LSTM", num_layers=2)
    x = torch.randn(T, B, I, dtype=torch.float64)
    grads = []
    for module in (theirs, ours):
        y, _ = module(x)
        y.mul_(2)
        y.sum().backward()
        grads.append([p.grad for p in module.parameters()])
    assert_equal(grads[1], grads[0])


def test_graphs_are_freed_by_backward_or_kept():
    _, ours = twins("LSTM")
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    y = ours(x)[0].sum()
    first = torch.autograd.grad(y, x, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(y, x)[0], first)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(y, x)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_keeps_nothing_and_gives_the_same(reentrant):
    """Dropout masks included: the checkpoint restores PyTorch's random numbers."""
    _, ours = twins("GRU", num_layers=2, dropout=0.5)
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(5)
    expected = torch.autograd.grad(ours(x)[0].sum(), x)[0]
    torch.manual_seed(5)
    y = torch.utils.checkpoint.checkpoint(lambda x: ours(x)[0], x, use_reentrant=reentrant)
    (found,) = torch.autograd.grad(y.sum(), x) if not reentrant else (y.sum().backward(), x.grad)[1:]
    assert torch.equal(found, expected)


def test_saved_tensors_can_be_sent_elsewhere():
    """All large memory of the way back is among what hooks see, and what they return is used."""
    _, ours = twins("LSTM", num_layers=2)
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(ours(x)[0].sum(), x)[0]
    sizes = []

    def away(tensor):
        sizes.append(tensor.numel())
        return tensor.clone()

    with torch.autograd.graph.saved_tensors_hooks(away, lambda tensor: tensor):
        y = ours(x)[0].sum()
    assert torch.equal(torch.autograd.grad(y, x)[0], expected)
    assert sum(sizes) >= 2 * T * B * 4 * H  # four gates of two layers


def test_inference_keeps_nothing_for_a_way_back(monkeypatch):
    from pyrnn import _core

    _, ours = twins("LSTM")
    x = torch.randn(T, B, I, dtype=torch.float64)
    kept = []
    outputs = _core.outputs

    def spy(*args):
        found = outputs(*args)
        kept.append(found[2] is not None)
        return found

    monkeypatch.setattr(_core, "outputs", spy)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            y, _ = ours(x)
        assert not y.requires_grad and y.grad_fn is None
    ours.requires_grad_(False)
    assert ours(x)[0].grad_fn is None
    assert kept == [False] * 3
    assert ours(x.requires_grad_())[0].grad_fn is not None
    assert kept == [False] * 3 + [True]


# ---- dropout, threads ----


def test_dropout_is_repeated_by_pytorchs_seed():
    _, ours = twins("LSTM", num_layers=3, dropout=0.3)
    x = torch.randn(T, B, I, dtype=torch.float64)
    torch.manual_seed(1)
    first, second = ours(x)[0], ours(x)[0]
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(ours(x)[0], first)
    torch.manual_seed(1)
    with torch.no_grad():  # dropout depends on train and eval alone
        assert torch.equal(ours(x)[0], first)


def test_eval_drops_nothing():
    theirs, ours = (module.eval() for module in twins("LSTM", num_layers=2, dropout=0.5))
    x = torch.randn(T, B, I, dtype=torch.float64)
    assert_equal(results(ours, x), results(theirs, x))
    assert not torch.equal(ours.train()(x)[0], theirs(x)[0])


@pytest.mark.parametrize("rate", [0.25, 1.0])
def test_dropout_zeroes_what_passes_between_layers(rate):
    """A second layer that copies its input shows the mask."""
    _, ours = twins("RNN", 1, 64, num_layers=2, dropout=rate, nonlinearity="relu", bias=False)
    with torch.no_grad():
        for p in ours.parameters():
            p.zero_()
        ours.weight_ih_l0.fill_(1)
        ours.weight_ih_l1.copy_(torch.eye(64))
    y = ours(torch.ones(50, 8, 1, dtype=torch.float64))[0]
    kept = 0 if rate == 1 else 1 / (1 - rate)
    assert set(y.unique().tolist()) <= {0.0, kept}
    # Four standard deviations of a mean of so many.
    assert abs((y == 0).double().mean() - rate) <= 4 * (rate * (1 - rate) / y.numel()) ** 0.5


def test_threads_are_those_of_pytorch(monkeypatch):
    from pyrnn import _core

    _, ours = twins("GRU")
    x = torch.randn(T, B, I, dtype=torch.float64)
    seen = []
    for name in ("run", "pull"):
        run = getattr(_core, name)
        monkeypatch.setattr(_core, name, lambda *call, run=run: seen.append(call[-1]) or run(*call))
    before = torch.get_num_threads()
    outside = pyrnn.get_num_threads()
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            ours(x)[0].sum().backward()
    finally:
        torch.set_num_threads(before)
    assert seen == ([1, 1, 3, 3] if _core.threads_possible() else [1] * 4)
    assert pyrnn.get_num_threads() == outside
