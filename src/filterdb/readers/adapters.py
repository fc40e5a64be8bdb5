"""Low-rank adapters (LoRA): a change to a weight, held as two factors beside it.

``weight + alpha / rank * up @ down`` is what the network computes with. Where a file holds the
weight, both factors and ``alpha`` (kohya and its like), they are merged. Where it lacks one of
them (the adapter alone; PEFT, which keeps ``alpha`` in another file), the factors are named, and
never taken for layers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from filterdb.layer import Tensor

FACTOR = re.compile(
    r"(.*?)\.(lora[_.]?(?:A|B|down|up|mid|magnitude_vector|embedding_[AB])|(?:hada|lokr)_\w+|"
    r"oft_\w+)((?:\.\w+)?(?:\.weight)?)"
)
"""Target, factor, and the adapter's own name where there may be several."""
DOWN, UP = ("lora_A", "lora_down"), ("lora_B", "lora_up")
REASON = (
    "a factor of a low-rank adapter (LoRA), not merged: the file lacks the weight that it changes, "
    "or the scale (alpha)"
)
SIGNS = (".lora", ".hada_", ".lokr_", ".oft_")
LONGEST_NAME = 1000


Factors = dict[str, Tensor]


def is_factor(name: str) -> bool:
    """True for the name of a factor of an adapter."""
    return factor_of(name) is not None


def factor_of(name: str) -> re.Match[str] | None:
    """The parts of a factor's name."""
    if len(name) > LONGEST_NAME or not any(sign in name for sign in SIGNS):
        return None
    return FACTOR.fullmatch(name)


def merge_adapters(tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[str]]:
    """Add adapters to the weights that they change, and take their factors away.

    Parameters
    ----------
    tensors
        Any tensors; what cannot be merged stays.

    Returns
    -------
    tensors, notes
        The tensors, and a sentence for what was merged and for what could not be.
    """
    groups: dict[tuple[str, str], Factors] = {}
    for tensor in tensors:
        if match := factor_of(tensor.name):
            groups.setdefault((match[1], match[3]), {})[match[2]] = tensor
    if not groups:
        return list(tensors), []
    named = {tensor.name: tensor for tensor in tensors}
    targets = Counter(target for target, _ in groups)
    changed: dict[str, Tensor | None] = {}
    for (target, _), factors in groups.items():
        merged = merge(target, factors, named) if targets[target] == 1 else None
        if merged is not None:
            base, alpha = merged
            changed |= dict.fromkeys((factor.name for factor in factors.values()), None)
            changed |= {alpha.name: None, base.name: base}
    count = sum(tensor is not None for tensor in changed.values())
    notes = []
    if count:
        notes.append(f"Low-rank adapters (LoRA) added to {count} weights.")
    if count < len(targets):
        notes.append(
            f"Low-rank adapters (LoRA) of {len(targets) - count} weights are not merged: the file "
            "lacks the weights that they change, or their scale (alpha)."
        )
    kept = (changed.get(tensor.name, tensor) for tensor in tensors)
    return [tensor for tensor in kept if tensor is not None], notes


def merge(
    target: str, factors: Factors, named: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor] | None:
    """The changed weight and the scale that was used up; None where the parts do not fit."""
    down = next((factors[name] for name in DOWN if name in factors), None)
    up = next((factors[name] for name in UP if name in factors), None)
    alpha = named.get(f"{target}.alpha")
    places = (f"{target}.weight", f"{target}.base_layer.weight")
    base = next((named[name] for name in places if name in named), None)
    if down is None or up is None or alpha is None or base is None or len(factors) != 2:
        return None
    rank = down.shape[0] if down.shape else 0
    fits = (
        alpha.shape in ((), (1,))
        and rank > 0
        and len(base.shape) in (2, 4)
        and down.shape == (rank, *base.shape[1:])
        and up.shape == (base.shape[0], rank, *(1 for _ in base.shape[2:]))
    )
    if not fits:
        return None
    return replace(base, load=partial(load_merged, base, (down, up, alpha)), identity=None), alpha


def load_merged(base: Tensor, parts: tuple[Tensor, Tensor, Tensor]) -> NDArray[np.float32]:
    """``weight + alpha / rank * up @ down``, float32."""
    down, up, alpha = (np.asarray(part.load(), dtype=np.float64) for part in parts)
    weight = np.asarray(base.load(), dtype=np.float64)
    rank = len(down)
    with np.errstate(over="ignore", invalid="ignore"):  # for whoever measures the weights to say
        change = up.reshape(len(up), rank) @ down.reshape(rank, -1)
        scale = float(alpha.reshape(())) / rank
        return np.asarray(weight + scale * change.reshape(weight.shape), dtype=np.float32)
