"""The variables of a checkpoint without a graph: which are the network's, and in which layout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from filterdb.layer import Convolution, Loader, Skipped, Tensor
from filterdb.readers.name_order import natural_key
from filterdb.readers.tensorflow.layouts import DEPTHWISE, HWIO
from filterdb.readers.tensorflow.object_graph import plain

SLOT = re.compile(
    r"(?P<stem>.+)/(?P<slot>Adam(_\d)?|LazyAdam(_\d)?|AdamW(_\d)?|Momentum|RMSProp(_\d)?|Adagrad|"
    r"Adadelta(_\d)?|Ftrl(_\d)?|LARSOptimizer|adam_[mv]|ExponentialMovingAverage)"
)
"""How TensorFlow 1 names what an optimiser keeps of a variable, or the average of one."""
OPTIMISER = re.compile(r"(^|/)_?(optimizers?|optimizer_?\w*|OptimizeLoss)(/|$)", re.I)
WEIGHT = re.compile(r"(^|[/_])(weights?|kernel|filters?|W)_?\d*(:0)?$")
BIASES = ("bias", "biases", "b")
GUESSED = "The checkpoint holds no graph: its layers stand in the order of {}."


@dataclass(frozen=True, slots=True)
class Variable:
    """One stored array with its name in the checkpoint."""

    key: str
    shape: tuple[int, ...]
    dtype: str
    load: Loader = field(repr=False, compare=False)
    name: str = ""
    serves: str = ""
    place: tuple[int, int] = (0, 0)

    @property
    def shown(self) -> str:
        """The name that it goes by."""
        return self.name or plain(self.key)


def network_of(variables: Sequence[Variable]) -> tuple[list[Tensor], list[Skipped]]:
    """The variables that belong to the network as tensors; the others with the reason.

    Parameters
    ----------
    variables
        In the order that the network is thought to have.
    """
    by_name = {variable.shown: variable for variable in variables}
    tensors: list[Tensor] = []
    skipped: list[Skipped] = []
    for variable in variables:
        reason = why_not(variable, by_name)
        if reason is None:
            tensors.append(tensor_of(variable, by_name))
        elif len(variable.shape) > 1:
            skipped.append(Skipped(variable.shown, reason))
    return tensors, skipped


def why_not(variable: Variable, by_name: dict[str, Variable]) -> str | None:
    """Why a variable is none of the network's."""
    if variable.serves:
        return f"what the optimiser keeps of {plain(variable.serves)!r}"
    slot = SLOT.fullmatch(variable.shown)
    if slot:
        served = served_by(slot["stem"], variable, by_name)
        if served is not None and slot["slot"] == "ExponentialMovingAverage":
            return f"the running average of {served!r}; the weights as trained were taken"
        if served is not None:
            return f"what the optimiser ({slot['slot']}) keeps of {served!r}"
    if OPTIMISER.search(plain(variable.key)):
        return "what the optimiser keeps"
    return None


def served_by(stem: str, variable: Variable, by_name: dict[str, Variable]) -> str | None:
    """The variable whose name is the stem, or the end of it, and which has the same shape."""
    while stem:
        served = by_name.get(stem)
        if served is not None and served.shape == variable.shape:
            return stem
        _, _, stem = stem.partition("/")
    return None


def tensor_of(variable: Variable, by_name: dict[str, Variable]) -> Tensor:
    """A variable in the one layout.

    A transposed one (height, width, output, input) becomes what PyTorch makes of it, so that
    ``roles.py`` weighs it as it weighs PyTorch's.
    """
    if len(variable.shape) != 4 or 0 in variable.shape:
        return Tensor(variable.shown, variable.shape, variable.dtype, variable.load)
    depthwise = is_depthwise(variable, by_name)
    layout = DEPTHWISE if depthwise else HWIO
    conv = Convolution(groups=variable.shape[2]) if depthwise else None
    if variable.shape[:2] == (1, 1) and variable.shape[3] == 1 and not depthwise:
        # One output cannot be split in groups.
        conv = Convolution(groups=1) if WEIGHT.search(variable.shown) else None
    load = partial(layout.apply, variable.load)
    return Tensor(variable.shown, layout.shape(variable.shape), variable.dtype, load, conv)


def is_depthwise(variable: Variable, by_name: dict[str, Variable]) -> bool:
    """Whether a weight is a depthwise one: by its name, or as a bias for each input says."""
    own = [plain(variable.key).split("/")[-1], variable.shown.split("/")[-1]]
    if any("depthwise" in name for name in own):
        return True
    if any("pointwise" in name for name in own):
        return False
    stem = variable.shown.rpartition("/")[0]
    biases = (by_name.get(f"{stem}/{name}" if stem else name) for name in BIASES)
    length = next((one.shape for one in biases if one is not None), None)
    return variable.shape[3] == 1 < variable.shape[2] and length == (variable.shape[2],)


def by_names(variables: Sequence[Variable]) -> list[Variable]:
    """Variables in the order of their names, numbers in them as numbers."""
    return sorted(variables, key=lambda one: natural_key(one.key))
