"""Depthwise layers that start from keys: :func:`initialise`, which asks for torch when called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal

from numpy.typing import ArrayLike

from filterdb.extras import require
from filterdb.keys.equivalence import Equivalence
from filterdb.keys.key_set import KeySet
from filterdb.keys.torch.initialised import InitialisedLayer

if TYPE_CHECKING:
    from torch import nn

Bias = Literal["per-channel"]
Assign = Literal["fit", "sample"]


def initialise(
    model: nn.Module,
    keys: KeySet | str | PathLike[str] = "published8",
    *,
    freeze: bool = True,
    bias: Bias | None = None,
    assign: Assign | Mapping[str, ArrayLike] = "fit",
    shares: Sequence[float] | None = None,
    seed: int = 0,
    equivalence: Equivalence | None = None,
) -> list[InitialisedLayer]:
    """Let the depthwise layers of a model start from keys (METHODS 3.3, steps 3 and 5).

    The model is changed in place. Layers of another kernel size than the keys' are left alone,
    so that a model of several sizes takes several calls, one a key set. Nothing is changed
    where an error is raised. Filters without a shape, constant or nearly zero, and those that no
    key is like, are kept.

    Make the optimiser afterwards. Gradients of rewritten weights from before are dropped: they
    were those of other weights, and would move even a frozen key once more. What learns is not
    in a state dict: to load one, initialise the fresh model in the same way, then
    ``load_state_dict``.

    Parameters
    ----------
    model
        Any module; a depthwise ``Conv2d`` itself will do. Before it is scripted, traced,
        exported or quantised.
    keys
        A key set, the name of one that comes with filterdb, or the path of a file.
    freeze
        Keep the keys from learning: ``weight.requires_grad`` becomes False. Else it is left as
        it is.
    bias
        ``None``: the layer stays a ``Conv2d`` with the weight ``a key + b``. ``"per-channel"``:
        it becomes a :class:`~filterdb.keys.torch.key_conv.KeyConv2d` where it stands, with the
        weight ``a key``, and with ``b`` as a learnt offset of each filter, a parameter
        ``key_offset`` of shape ``(channels,)``, which learns even if one that was there did not.
        (The layer's own ``bias``, added to its output, is another thing, and stays.)
    assign
        ``"fit"``: each filter becomes its best affine fit, for models that have learnt. Of
        random weights that is a fit of noise, with a fraction of their strength: the row of the
        layer then has a ``note``.
        ``"sample"``, for new networks: each becomes a key drawn at random; ``b`` is 0,
        and ``a`` the root mean square norm of the filters (without their means) that the layer
        has, or, where these are all constant, what PyTorch's own initialisation gives on
        average, ``sqrt((k - 1) / 3 k)`` with ``k`` taps.
        A mapping name of the layer -> index of the key of each filter, from 0: the affine fit
        with that very key; layers that it does not name are left alone.
    shares
        With ``"sample"``: how often each key is drawn, ``K`` numbers that need not sum to 1;
        all alike if not given.
    seed
        With ``"sample"``; not negative. torch's own random numbers are not used.
    equivalence
        With ``"fit"``: what does not matter besides ``a`` and ``b``; as the key set says if not
        given. A filter gets the moved key that fits it.

    Returns
    -------
    list of InitialisedLayer
        All depthwise layers in the order of the model, with those left alone and why:
        transposed convolutions and those of one or three dimensions, lazy modules, weights that
        are computed (``parametrize``, ``weight_norm``, ``spectral_norm``, pruning), share
        memory or have no values, filters of which none has a shape, quantised modules,
        subclasses of ``Conv2d`` where offsets are asked for.

    Raises
    ------
    KeySetError
        No layer can take the keys; an argument is wrong, or does not go with the model and the
        keys; or the key set cannot be read.
    MissingExtraError
        torch is not installed.
    """
    require("torch", extra="torch")
    from filterdb.keys.torch.depthwise import initialise_layers

    return initialise_layers(
        model, keys, freeze=freeze, bias=bias, assign=assign, shares=shares, seed=seed,
        same=equivalence,
    )  # fmt: skip
