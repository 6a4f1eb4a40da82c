"""PyTorch's LSTM, GRU and RNN on pyrnn's kernels: the same modules, faster on a CPU.

``pyrnn.torch.LSTM`` takes the place of ``torch.nn.LSTM``, and `accelerate` that of all of them in a model. It
needs PyTorch 2.4 or later, which pyrnn does not install, and is imported by its name: ``import pyrnn.torch``.
"""

try:
    from .modules import GRU, LSTM, RNN, accelerate
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError(f"pyrnn.torch needs PyTorch: pip install torch ({error})") from error

__all__ = ["GRU", "LSTM", "RNN", "accelerate"]
