"""Which of the tensors in a checkpoint are the network, and under which names.

The rule, for whatever nesting of dicts, lists and objects a checkpoint is:

1. A *network* is a dict that holds arrays, or a whole pickled module. Optimiser state never is.
   Where each dict is but one layer (a tree of parameters), the tree is the network.
2. The candidates are the networks with an array of three or more dimensions. The top level, if
   it is a state dict itself, is one of them.
3. Candidates with the same names and shapes are copies of one network. Of copies, the one as
   trained is taken rather than its running average (``ema``), with one exception: ``params_ema``
   before ``params``, because those who write this pair publish and run the average.
4. Of different networks, the one with the most convolution filters is taken, but a discriminator,
   a critic, a teacher or a loss only if there is nothing else.
5. What was not taken is named, each with its reason.

Then ``module.`` (DataParallel) and ``_orig_mod.`` (torch.compile) are taken off the names, and
weights held in parts are merged (see ``reparametrised.py``).
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from math import prod
from typing import Protocol

from filterdb.errors import LimitError, ReadError
from filterdb.layer import Loader, Skipped, Tensor
from filterdb.readers.adapters import merge_adapters
from filterdb.readers.averages import AVERAGED, without_averages
from filterdb.readers.limits import MAX_DEPTH, MAX_NAME
from filterdb.readers.reparametrised import merge_parts

OPTIMISER = re.compile(r"optim|^opt(_?\w)?$|(^|_)(lr_?)?(sched|scaler)", re.I)
OPTIMISER_KEYS = frozenset({"exp_avg", "exp_avg_sq", "momentum_buffer", "square_avg"})
AUXILIARY = re.compile(
    r"^(net|model)?_?d(_[a-z0-9]+)*$|_d$|^disc|discrim|critic|criterion|loss|perceptual|teacher",
    re.I,
)
MAX_TENSORS = 100_000
MAX_STEPS = 300_000
"""Real checkpoints have names of some 100 characters, and some thousand tensors and dicts."""
WRAPPERS = ("module.", "_orig_mod.")


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """An array that has no name yet; otherwise as :class:`~filterdb.layer.Tensor`."""

    shape: tuple[int, ...]
    dtype: str
    load: Loader
    scheme: str = ""
    identity: Hashable = None


class Objects(Protocol):
    """Gives meaning to the objects of a checkpoint, whoever made them."""

    def array(self, value: object, /) -> Array | str | None:
        """The array that an object is, the reason why it is not taken, or None."""

    def children(self, value: object, /) -> Iterable[tuple[str, object]]:
        """Named parts, in order; nothing for a leaf."""

    def is_module(self, value: object, /) -> bool:
        """True where all below the object belongs to one network."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What was taken of a checkpoint.

    Attributes
    ----------
    tensors
        Of the chosen network, tidied; empty where there is none.
    skipped
        Its unreadable tensors, and the networks that were not taken.
    notes
        Sentences on what was done.
    """

    tensors: tuple[Tensor, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class Network:
    """The tensors found under one path."""

    path: tuple[str, ...]
    tensors: list[Tensor] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The path, for people."""
        return repr(".".join(self.path)) if self.path else "the top level"

    @cached_property
    def spatial(self) -> frozenset[tuple[str, tuple[int, ...]]]:
        """Names and shapes of all arrays of three or more dimensions: equal for copies.

        Kept from the first use on, when the tensors are final.
        """
        return frozenset((t.name, t.shape) for t in self.tensors if len(t.shape) > 2)

    @property
    def n_filters(self) -> int:
        """Number of 2-D filters."""
        return sum(prod(t.shape[:2]) for t in self.tensors if len(t.shape) == 4)

    @property
    def is_layer(self) -> bool:
        """True for the parameters of a single layer, which bear no dotted names."""
        named = (t.name for t in self.tensors)
        spatial = sum(len(t.shape) > 2 for t in self.tensors)
        return spatial < 2 and not any("." in name for name in named)

    def add(self, name: str, found: Array | str) -> None:
        """Take an array, or the reason why it is not taken, under a name.

        Raises
        ------
        LimitError
            There are more than any network has.
        """
        if len(self.tensors) + len(self.skipped) >= MAX_TENSORS:
            msg = f"It holds more than {MAX_TENSORS:,} tensors in one dict: it was not read."
            raise LimitError(msg)
        if isinstance(found, str):
            self.skipped.append(Skipped(name, found))
        else:
            self.tensors.append(
                Tensor(
                    name, found.shape, found.dtype, found.load,
                    scheme=found.scheme, identity=found.identity,
                )
            )  # fmt: skip


def select(root: object, objects: Objects) -> Selection:
    """Choose the network in a checkpoint by the rule at the head of this module.

    Parameters
    ----------
    root
        The checkpoint.
    objects
        Tells arrays, containers and modules.

    Raises
    ------
    ReadError
        An array contradicts itself; the error names it.
    """
    networks = join_layers(find_networks(root, objects))
    for network in networks:
        without_duplicates(network)
        kept, averages, notes = without_averages(network.tensors)
        network.skipped += averages
        network.tensors, further = tidy(kept)
        network.notes = [*notes, *further]
    candidates = [n for n in networks if n.spatial]
    if not candidates:
        if not networks:
            return Selection(())
        largest = max(networks, key=lambda n: len(n.tensors))
        return Selection(tuple(largest.tensors), tuple(largest.skipped), tuple(largest.notes))
    return choose(candidates)


def choose(candidates: Sequence[Network]) -> Selection:
    """Take one of the candidates and name the others."""
    originals: dict[object, Network] = {}
    for network in sorted(candidates, key=copy_rank):
        originals.setdefault(network.spatial, network)
    taken = min(originals.values(), key=lambda n: (is_auxiliary(n), -n.n_filters, n.path))
    tensors, tied = without_ties(taken.tensors)
    skipped = [*taken.skipped, *tied]
    notes = list(taken.notes)
    others = [network for network in candidates if network is not taken]
    for network in others:
        what = f"another network of {network.n_filters:,} filters"
        if network.spatial == taken.spatial:
            what = "a copy by names and shapes"
        name = ".".join(network.path) or "(top level)"
        skipped.append(Skipped(name, f"{what}; of this file, {taken.label} was taken"))
    if others:
        rest = ", ".join(network.label for network in others[:5])
        if len(others) > 5:
            rest += f" and {len(others) - 5} more"
        notes.insert(
            0, f"Several state dicts hold convolutions: {taken.label} was taken, not {rest}."
        )
    return Selection(tuple(tensors), tuple(skipped), tuple(notes))


def without_ties(tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Skipped]]:
    """Weights that several layers share, once: under their first name."""
    owners: dict[Hashable, str] = {}
    kept: list[Tensor] = []
    tied: list[Skipped] = []
    for tensor in tensors:
        if tensor.identity is None or len(tensor.shape) < 3:
            kept.append(tensor)
            continue
        owner = owners.setdefault(tensor.identity, tensor.name)
        if owner == tensor.name:
            kept.append(tensor)
        else:
            tied.append(Skipped(tensor.name, f"shares the weights of {owner!r}"))
    return kept, tied


def copy_rank(network: Network) -> int:
    """Order among copies of a network; the file's order decides between equals."""
    if "params_ema" in network.path:
        return 0
    return 2 if any(AVERAGED.search(key) for key in network.path) else 1


def is_auxiliary(network: Network) -> bool:
    """True for what only served the training of another network."""
    return any(AUXILIARY.search(key) for key in network.path)


def find_networks(root: object, objects: Objects) -> list[Network]:
    """Every network of a checkpoint, in its order; each object is looked at once."""
    networks: list[Network] = []
    seen: set[int] = set()
    steps = count()
    waiting: list[tuple[tuple[str, ...], object]] = [((), root)]
    while waiting:
        path, value = waiting.pop()
        if id(value) in seen or len(path) > MAX_DEPTH or sum(map(len, path)) > MAX_NAME:
            continue
        seen.add(id(value))
        check_count(next(steps))
        network = Network(path)
        if objects.is_module(value):
            flatten(value, network, objects, steps)
        else:
            parts = list(objects.children(value))
            keys = {key for key, _ in parts}
            if keys & OPTIMISER_KEYS or {"state", "param_groups"} <= keys:
                continue
            waiting.extend(reversed(take_arrays(parts, network, objects)))
        if network.tensors or network.skipped:
            networks.append(network)
    return networks


def take_arrays(
    parts: list[tuple[str, object]], network: Network, objects: Objects
) -> list[tuple[tuple[str, ...], object]]:
    """Put the arrays among the parts of a container into a network; return the other parts."""
    rest: list[tuple[tuple[str, ...], object]] = []
    for key, part in parts:
        found = array_at(key, part, objects) if len(key) < MAX_NAME else None
        if found is not None:
            network.add(key, found)
        elif not OPTIMISER.search(key):
            rest.append(((*network.path, key), part))
    return rest


def array_at(name: str, value: object, objects: Objects) -> Array | str | None:
    """``objects.array``, with the name in any error."""
    try:
        return objects.array(value)
    except ReadError as error:
        raise error.at(layer=name) from error.__cause__


def check_count(steps: int) -> None:
    """Stop a walk that goes on beyond any checkpoint (modules that share modules, say)."""
    if steps > MAX_STEPS:
        msg = f"It holds more than {MAX_STEPS:,} lists, dicts and objects: not followed."
        raise LimitError(msg)


def flatten(module: object, network: Network, objects: Objects, steps: Iterator[int]) -> None:
    """All arrays of a module and its submodules under dotted names, in order."""
    seen: set[int] = set()
    waiting: list[tuple[str, int, object]] = [("", 0, module)]
    while waiting:
        name, depth, value = waiting.pop()
        check_count(next(steps) + len(waiting))
        found = array_at(name, value, objects)
        if found is not None:
            network.add(name, found)
        elif id(value) not in seen and depth < MAX_DEPTH:
            seen.add(id(value))
            parts = list(objects.children(value))
            short = [(key, part) for key, part in parts if len(name) + len(key) < MAX_NAME]
            waiting.extend(
                (f"{name}.{key}" if name else key, depth + 1, part) for key, part in reversed(short)
            )


def join_layers(networks: list[Network]) -> list[Network]:
    """Where every candidate is but a layer, make the tree they form one network."""
    layers = [n for n in networks if any(len(t.shape) > 2 for t in n.tensors)]
    if len(layers) < 2 or not all(layer.is_layer for layer in layers):
        return networks
    joined = Network(())
    for network in networks:
        for tensor in network.tensors:
            joined.tensors.append(replace(tensor, name=".".join((*network.path, tensor.name))))
        for item in network.skipped:
            joined.skipped.append(Skipped(".".join((*network.path, item.name)), item.reason))
    return [joined]


def without_duplicates(network: Network) -> None:
    """Keep the first tensor of each name."""
    first: dict[str, Tensor] = {}
    for tensor in network.tensors:
        if tensor.name in first:
            network.skipped.append(Skipped(tensor.name, "a second tensor of the same name"))
        else:
            first[tensor.name] = tensor
    network.tensors = list(first.values())


def tidy(tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[str]]:
    """Take wrappers' prefixes off the names and merge weights that are held in parts.

    Parameters
    ----------
    tensors
        A state dict, in its order.

    Returns
    -------
    tensors, notes
        The same network as it computes, and sentences on what was done.
    """
    renamed, notes = without_wrappers(list(tensors))
    merged, further = merge_parts(renamed)
    changed, more = merge_adapters(merged)
    return changed, [*notes, *further, *more]


def without_wrappers(tensors: list[Tensor]) -> tuple[list[Tensor], list[str]]:
    """Strip the prefixes that every name bears, and ``_orig_mod.`` wherever it stands."""
    names = [tensor.name for tensor in tensors]
    while names and (prefix := next((p for p in WRAPPERS if names[0].startswith(p)), None)):
        if not all(name.startswith(prefix) for name in names):
            break
        names = [name.removeprefix(prefix) for name in names]
    inner = [re.sub(r"(^|\.)_orig_mod\.", r"\1", name) for name in names]
    if len(set(inner)) == len(set(names)):
        names = inner
    if not all(names) or names == [tensor.name for tensor in tensors]:
        return tensors, []
    renamed = [replace(t, name=name) for t, name in zip(tensors, names, strict=True)]
    return renamed, ["Prefixes of wrappers (module., _orig_mod.) were taken off the names."]
