"""accelerate: whole models, their optimizers, what is shared, wrappers, and several processes."""

import copy
import os
import socket

import numpy as np
import pytest
import torch
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrizations

import pyrnn.torch

from .twins import assert_equal, results, twins


class Tagger(torch.nn.Module):
    """Layers at several depths, one of them under two names."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(11, 6)
        self.encoder = torch.nn.ModuleDict({"rnn": torch.nn.LSTM(6, 8, bidirectional=True, batch_first=True)})
        self.top = torch.nn.ModuleList([torch.nn.GRU(16, 5, batch_first=True)])
        self.again = self.top[0]
        self.head = torch.nn.Linear(5, 3)

    def forward(self, tokens):
        y, _ = self.encoder["rnn"](self.embedding(tokens))
        y, _ = self.again(y)
        return self.head(y)


def pair():
    torch.manual_seed(0)
    theirs = Tagger().double()
    return theirs, copy.deepcopy(theirs)


def curve(model, optimizer, steps=5):
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(steps):
        tokens, targets = (torch.from_numpy(rng.integers(0, n, (4, 7))) for n in (11, 3))
        loss = torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_a_model_trains_as_before_with_the_optimizer_it_had():
    theirs, ours = pair()
    optimizers = [torch.optim.Adam(model.parameters(), 0.01) for model in (theirs, ours)]
    parameters = [id(p) for p in ours.parameters()]
    assert pyrnn.torch.accelerate(ours) is ours
    assert type(ours.encoder["rnn"]) is pyrnn.torch.LSTM and type(ours.again) is pyrnn.torch.GRU
    assert ours.again is ours.top[0] and type(ours.head) is torch.nn.Linear
    assert [id(p) for p in ours.parameters()] == parameters
    assert list(ours.state_dict()) == list(theirs.state_dict())
    np.testing.assert_allclose(curve(ours, optimizers[1]), curve(theirs, optimizers[0]), rtol=0, atol=1e-11)


def test_a_model_that_is_one_of_them():
    module = torch.nn.GRU(3, 4)
    assert pyrnn.torch.accelerate(module) is module and type(module) is pyrnn.torch.GRU
    assert pyrnn.torch.accelerate(module) is module and type(module) is pyrnn.torch.GRU


def test_subclasses_and_other_objects():
    class Own(torch.nn.LSTM):
        pass

    assert type(pyrnn.torch.accelerate(Own(3, 4))) is Own
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got dict"):
        pyrnn.torch.accelerate({})


def test_hooks_and_modes_stay():
    module = torch.nn.GRU(3, 4).eval()
    seen = []
    module.register_forward_hook(lambda *args: seen.append(1))
    pyrnn.torch.accelerate(module)(torch.ones(2, 1, 3))
    assert seen and not module.training


def test_functional_call_uses_the_weights_that_it_is_given():
    theirs, ours = twins("LSTM")
    x = torch.randn(6, 2, 5, dtype=torch.float64)
    weights = {name: torch.full_like(p, 0.1, requires_grad=True) for name, p in ours.named_parameters()}
    outputs = [torch.func.functional_call(module, weights, (x,))[0] for module in (ours, theirs)]
    slopes = [torch.autograd.grad(y.sum(), list(weights.values())) for y in outputs]
    assert_equal(slopes[0], slopes[1])
    assert_equal(results(ours, x), results(theirs, x))


def test_parametrized_weights():
    theirs, ours = (parametrizations.weight_norm(module, "weight_hh_l0") for module in twins("GRU"))
    x = torch.randn(6, 2, 5, dtype=torch.float64)
    for _ in range(2):
        assert_equal(results(ours, x), results(theirs, x))
        with torch.no_grad():
            for module in (ours, theirs):
                for p in module.parameters():
                    p.mul_(1.5)


def test_tied_weights_add_their_gradients():
    theirs, ours = twins("GRU", 7, 7)
    for module in (theirs, ours):
        module.weight_ih_l0 = module.weight_hh_l0
    x = torch.randn(6, 2, 7, dtype=torch.float64)
    assert_equal(results(ours, x), results(theirs, x))


# ---- several processes ----


def part(rank, port, queue):
    """A process's half of the batch; the gradients that both end up with go to the queue."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    _, model = pair()
    pyrnn.torch.accelerate(model)
    model = DistributedDataParallel(model)
    tokens, targets = batch()
    mine = slice(rank * 4, (rank + 1) * 4)
    loss(model, tokens[mine], targets[mine]).backward()
    queue.put([p.grad.numpy().tolist() for p in model.parameters()])
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def batch():
    rng = np.random.default_rng(3)
    return torch.from_numpy(rng.integers(0, 11, (8, 7))), torch.from_numpy(rng.integers(0, 3, (8, 7)))


def loss(model, tokens, targets):
    return torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())


def test_two_processes_have_the_gradients_of_one():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=part, args=(rank, port, queue)) for rank in range(2)]
    for process in processes:
        process.start()
    found = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    model, _ = pair()
    loss(model, *batch()).backward()
    for grads in found:
        assert_equal(
            [torch.tensor(g, dtype=torch.float64) for g in grads], [p.grad for p in model.parameters()]
        )
