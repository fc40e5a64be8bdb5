"""Networks that name their layers and what flows between them: depth, followers, weight state.

For formats whose layers stand in the order of execution (Caffe, ncnn, darknet) a name that is
written again, as by a layer in place, means the new value from there on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from filterdb.errors import LimitError
from filterdb.layer import Norm, WeightState
from filterdb.readers.onnx.depth import measure_depths
from filterdb.readers.onnx.graph import Graph, Node

MAX_LAYERS = 100_000
MAX_VALUES = 400_000
MAX_LOOK = 64
"""Followers after which transparent layers are taken for what follows."""
"""Real networks have some hundred layers, some few values each."""


class LayerGraph:
    """A graph that is built layer by layer.

    Parameters
    ----------
    sources, transparent
        Types of layers that are inputs, and that only hand on what they get: neither adds to a
        path.
    """

    def __init__(self, *, sources: Iterable[str] = (), transparent: Iterable[str] = ()) -> None:
        self.graph = Graph()
        self.sources = frozenset(sources)
        self.transparent = frozenset(transparent)
        self.current: dict[str, int] = {}
        self.declared: dict[str, int] = {}

    def declare(self, names: Iterable[str]) -> None:
        """Name values before the layers that write them, where layers stand in any order.

        One that no layer writes is a constant.
        """
        for name in names:
            self.declared[name] = self.define(name)

    def add(self, op: str, name: str, inputs: Sequence[str], outputs: Sequence[str]) -> int:
        """Add a layer by the names of what it reads and writes; return its number.

        Raises
        ------
        LimitError
            There are more layers or values than any network has.
        """
        graph = self.graph
        if len(graph.nodes) >= MAX_LAYERS:
            msg = f"It has more than {MAX_LAYERS:,} layers, as no network does: not read."
            raise LimitError(msg)
        read = tuple(self.value(given) for given in inputs)
        written = tuple(self.define(given) for given in outputs)
        cost = 0 if op in self.sources or op in self.transparent else 1
        graph.nodes.append(Node(op, "", name, read, written, cost=cost))
        return len(graph.nodes) - 1

    def value(self, name: str) -> int:
        """The value that a name means now; one that nothing has written is an input."""
        if name not in self.current:
            self.graph.inputs.add(self.define(name))
        return self.current[name]

    def define(self, name: str) -> int:
        """A new value of that name, unless it was declared."""
        if name in self.declared:
            return self.declared.pop(name)
        if len(self.graph.names) >= MAX_VALUES:
            msg = f"It has more than {MAX_VALUES:,} values, as no network does: not read."
            raise LimitError(msg)
        self.graph.names.append(name)
        self.current[name] = len(self.graph.names) - 1
        return self.current[name]

    def depths(self) -> list[int]:
        """Depth of every layer (METHODS 1.1)."""
        return measure_depths(self.graph).depths

    def followers(self) -> Followers:
        """Looks up which layers use what a layer writes."""
        return Followers(self.graph, self.transparent)


class Followers:
    """The layers that use what a layer writes; transparent ones are looked through."""

    def __init__(self, graph: Graph, transparent: frozenset[str]) -> None:
        self.nodes = graph.nodes
        self.transparent = transparent
        self.users: dict[int, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for value in dict.fromkeys(node.inputs):
                if value is not None:
                    self.users.setdefault(value, []).append(index)

    def of(self, index: int) -> list[int]:
        """The layers that follow one, in order."""
        found: dict[int, None] = {}
        waiting, looked = self.direct(index), 0
        seen = set(waiting)
        while waiting:
            user = waiting.pop()
            looked += 1
            if self.nodes[user].op not in self.transparent or looked > MAX_LOOK:
                found[user] = None
                continue
            further = [other for other in self.direct(user) if other not in seen]
            seen.update(further)
            waiting += further
        return sorted(found)

    def direct(self, index: int) -> list[int]:
        """The layers that read one of its values."""
        outputs = self.nodes[index].outputs
        return [user for v in outputs if v is not None for user in self.users.get(v, ())]


State = tuple[WeightState, str, Norm | None]


def weight_states(
    followers: Mapping[int, Sequence[int]],
    norms: Mapping[int, Norm | str],
    *,
    biased: Iterable[int],
    as_trained: str = "",
) -> dict[int, State]:
    """Whether the weights of each convolution are raw, and how that is known.

    A folded normalisation leaves a bias, and who folds one folds all that can be. So a
    convolution that none follows was never normalised if it has no bias, or if others in the
    same file are still followed by theirs; else nobody can tell.

    Parameters
    ----------
    followers
        Convolution -> the layers that use its output.
    norms
        Layer -> the normalisation that it is; its bare name where its parameters are not known.
    biased
        The convolutions with a bias.
    as_trained
        Why no normalisation can have been folded in this file, if that is known.
    """
    biased = frozenset(biased)
    unfolded = any(user in norms for users in followers.values() for user in users)
    states: dict[int, State] = {}
    for conv, users in followers.items():
        after = [norms[user] for user in users if user in norms]
        if after and len(after) == len(users):
            norm = after[0] if len(after) == 1 and isinstance(after[0], Norm) else None
            named = " and ".join(n.name if isinstance(n, Norm) else n for n in after[:3])
            states[conv] = ("raw", f"followed by batch normalisation {named}", norm)
        elif after:
            evidence = f"{len(after)} of its {len(users)} uses are normalised, the others not"
            states[conv] = ("unknown", evidence, None)
        elif conv not in biased:
            evidence = "no normalisation follows, and there is no bias that a folded one leaves"
            states[conv] = ("no_norm", evidence, None)
        elif unfolded or as_trained:
            why = as_trained or "others in the file are not folded"
            states[conv] = ("no_norm", f"no normalisation follows, and {why}", None)
        else:
            evidence = "no normalisation follows; whether one was folded in, the file does not say"
            states[conv] = ("unknown", evidence, None)
    return states


def unique(names: Iterable[str]) -> list[str]:
    """The names, the second and later of equal ones numbered."""
    seen: Counter[str] = Counter()
    taken: set[str] = set()
    result = []
    for name in names:
        label = name
        while label in taken:
            seen[name] += 1
            label = f"{name}#{seen[name] + 1}"
        taken.add(label)
        result.append(label)
    return result
