"""An autoencoder with one code: filters as points of a line (METHODS 3.2 and 3.3, step 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from filterdb.errors import KeySetError
from filterdb.keys.equivalence import Kernel

CANDIDATES = 50
"""Evenly spaced codes that are decoded [METHODS 3.3, step 2]."""
RESTARTS = 3
STEPS = 1500
BATCH = 256
RATE = 3e-3
"""Learning rate of Adam at the start; it falls to 0 by half a cosine."""

WIDTH = 64
SPREAD = math.pi / math.sqrt(3)
"""Standard deviation of a logistic variable: its sigmoid is even over 0..1."""
BENDS = 8.0
"""Slope of the decoder's first layer, in codes: how sharply it may turn along them at the start."""
JUDGED = 20_000
"""Filters by which the restarts are compared."""
BLOCK = 65_536
"""Filters encoded at a time."""
TINY = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Autoencoder:
    """An autoencoder with one code in 0..1, trained on filters.

    Attributes
    ----------
    decoded
        Filters at evenly spaced codes from 0 to 1, float64 of shape ``(C, kh, kw)``, mean 0 and
        norm 1. Unless ``signed``, either sign is meant.
    counts
        How many of the filters have their code nearest to each, int64 of shape ``(C,)``.
    loss
        ``1 - cos²`` (``1 - cos`` where ``signed``) of filters and what is decoded of their codes,
        on average.
    losses
        That of every restart; the least is kept.
    signed
        Whether a filter and its negative are different.
    """

    decoded: NDArray[np.float64]
    counts: NDArray[np.int64]
    loss: float
    losses: tuple[float, ...]
    signed: bool
    _network: _Network

    def codes(self, unit: NDArray[np.float32]) -> NDArray[np.float32]:
        """Codes of filters in normal form.

        Parameters
        ----------
        unit
            Shape ``(n, k)``, mean 0 and norm 1; not changed.

        Returns
        -------
        ndarray of float32, shape (n,)
            In 0..1. Unless ``signed``, that of a filter and of its negative are the same.
        """
        return _codes(self._network, np.asarray(unit, np.float32))


def train_autoencoder(
    unit: NDArray[np.float32],
    kernel: Kernel,
    *,
    signed: bool = False,
    seed: int = 0,
    candidates: int = CANDIDATES,
    restarts: int = RESTARTS,
    steps: int = STEPS,
) -> Autoencoder:
    """Train an autoencoder with a cosine loss and a code of one dimension (METHODS 3.2, 3.3).

    The encoder and the decoder are perceptrons of two hidden layers (128 and 64 units, 64 and 64).
    Before the sigmoid the code is standardised over the batch, and so spread that the codes of a
    bell curve are even over 0..1: none can crowd at its ends. Unless ``signed``, the loss is
    ``1 - cos²`` and the first layer of the encoder is ``|W x|``, so that the sign of a filter can
    make no difference. Adam sees ``steps`` batches of 256 filters, however many there are.

    A line has two neighbours for each point: what is decoded between two kinds of filters is a
    blend of both that no network may have, and kinds that are like more than two others are torn
    apart. Candidates want a test for what they explain, and ``counts`` says which hold filters.

    Parameters
    ----------
    unit
        Filters in normal form, shape ``(n, k)``, mean 0 and norm 1; not changed.
    kernel
        Height and width, ``kh kw = k``.
    signed
        Whether a filter and its negative are different, as for the papers' plain cosine.
    seed
        Of weights and batches; the result is the same for the same seed, machine and number of
        threads. The random numbers of torch are not used.
    candidates
        How many evenly spaced codes are decoded.
    restarts
        How many are trained; that of the least loss is kept.
    steps
        Batches for each.

    Raises
    ------
    KeySetError
        There are no filters.
    ValueError
        The shapes do not go together, or a weight is not finite.
    """
    filters = _writeable(unit)
    taps = kernel[0] * kernel[1]
    if filters.ndim != 2 or filters.shape[1] != taps or taps < 2:
        msg = f"filters of shape {filters.shape} are not {kernel}"
        raise ValueError(msg)
    if not len(filters):
        msg = "There are no filters with a shape that an autoencoder could learn from."
        raise KeySetError(msg)
    if not np.isfinite(filters).all():
        msg = "a weight is NaN or infinite"
        raise ValueError(msg)
    runs = [_train(filters, signed=signed, seed=(seed, start), steps=steps)
            for start in range(max(restarts, 1))]  # fmt: skip
    network, loss = min(runs, key=lambda run: run[1])
    nearest = np.rint(_codes(network, filters) * (candidates - 1)).astype(np.intp)
    return Autoencoder(
        decoded=_decoded(network, candidates).reshape(-1, *kernel),
        counts=np.bincount(nearest, minlength=candidates),
        loss=loss,
        losses=tuple(loss for _, loss in runs),
        signed=signed,
        _network=network,
    )


class _Network(nn.Module):
    """Encoder and decoder, whose weights come from a generator of their own."""

    def __init__(self, taps: int, *, signed: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.signed = signed
        self.encoder = nn.ModuleList([
            _linear(taps, 2 * WIDTH, generator, bias=signed),
            _linear(2 * WIDTH, WIDTH, generator),
            _linear(WIDTH, 1, generator),
        ])  # fmt: skip
        bend = _linear(1, WIDTH, generator)
        self.decoder = nn.ModuleList([
            bend,
            _linear(WIDTH, WIDTH, generator, gain=math.sqrt(2)),
            _linear(WIDTH, taps, generator),
        ])  # fmt: skip
        with torch.no_grad():
            # Each unit of the first layer turns somewhere along the codes, not all of them at 0.
            bend.weight.mul_(BENDS)
            where = torch.rand(WIDTH, generator=generator, dtype=torch.float32)
            bend.bias.copy_(-bend.weight[:, 0] * where)
        self.register_buffer("middle", torch.zeros((), dtype=torch.float32))
        self.register_buffer("scale", torch.ones((), dtype=torch.float32))

    def raw(self, filters: torch.Tensor) -> torch.Tensor:
        """What the code is made of, ``(n, 1)`` and of any size."""
        first, second, last = self.encoder
        hidden = functional.gelu(first(filters)) if self.signed else first(filters).abs()
        result: torch.Tensor = last(functional.gelu(second(hidden)))
        return result

    def code(self, raw: torch.Tensor) -> torch.Tensor:
        """Codes in 0..1, by the middle and the scale that were settled."""
        return torch.sigmoid(SPREAD * (raw - self.middle) / self.scale)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Filters of mean 0 and norm 1, ``(n, k)``."""
        first, second, last = self.decoder
        filters = last(functional.gelu(second(torch.tanh(first(codes)))))
        filters = filters - filters.mean(dim=1, keepdim=True)
        return functional.normalize(filters, dim=1)

    def settle(self, raw: torch.Tensor) -> None:
        """Take the middle and the scale of codes from these."""
        self.middle, self.scale = raw.mean(), raw.std(correction=0) + TINY


def _linear(
    since: int, to: int, generator: torch.Generator, *, bias: bool = True, gain: float = 1
) -> nn.Linear:
    """A linear layer that leaves torch's random numbers and default type alone."""
    # On the meta device its own initialisation draws no numbers.
    layer = nn.Linear(since, to, bias=bias, device="meta", dtype=torch.float32)
    layer = layer.to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.normal_(0, gain / math.sqrt(since), generator=generator)
        if bias:
            layer.bias.zero_()
    return layer


def _train(
    filters: NDArray[np.float32], *, signed: bool, seed: tuple[int, int], steps: int
) -> tuple[_Network, float]:
    """One network, and its loss."""
    state = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1)
    # The caller may have grad switched off, and tensors go elsewhere by default.
    with torch.inference_mode(mode=False), torch.enable_grad(), torch.device("cpu"):
        generator = torch.Generator().manual_seed(state)
        network = _Network(filters.shape[1], signed=signed, generator=generator)
        optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
        every = torch.from_numpy(filters)
        size = min(BATCH, len(filters))
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * step / steps)) / 2
            batch = every[torch.randint(len(every), (size,), generator=generator)]
            raw = network.raw(batch)
            network.settle(raw)
            loss = _loss(network, batch, raw)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        network.requires_grad_(requires_grad=False)
        judged = every[:: math.ceil(len(every) / JUDGED)]
        raw = network.raw(judged)
        network.settle(raw)
        return network, float(_loss(network, judged, raw))


def _loss(network: _Network, filters: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
    """Mean of ``1 - cos²``, or of ``1 - cos`` where the sign matters."""
    cosine = (filters * network.decode(network.code(raw))).sum(dim=1)
    return 1 - (cosine if network.signed else cosine.square()).mean()


def _writeable(filters: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows one after the other; torch takes no array that it must not write into."""
    return np.require(filters, np.float32, ["C", "W"])


def _codes(network: _Network, filters: NDArray[np.float32]) -> NDArray[np.float32]:
    """Codes of filters, a block at a time."""
    codes = np.empty(len(filters), np.float32)
    with torch.no_grad(), torch.device("cpu"):
        for start in range(0, len(filters), BLOCK):
            block = torch.from_numpy(_writeable(filters[start : start + BLOCK]))
            codes[start : start + BLOCK] = network.code(network.raw(block))[:, 0].numpy()
    return codes


def _decoded(network: _Network, candidates: int) -> NDArray[np.float64]:
    """Filters at evenly spaced codes."""
    with torch.no_grad(), torch.device("cpu"):
        codes = torch.linspace(0, 1, candidates, dtype=torch.float32)[:, None]
        filters = network.decode(codes).double().numpy()
    filters = filters - filters.mean(axis=1, keepdims=True)
    result: NDArray[np.float64] = filters / np.linalg.norm(filters, axis=1, keepdims=True)
    return result
