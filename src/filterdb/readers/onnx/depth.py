"""The depth of each node of an ONNX graph."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from filterdb.errors import CorruptFileError
from filterdb.readers.onnx.graph import Graph


@dataclass(frozen=True, slots=True)
class Depths:
    """An order in which every node comes after those it needs, and each node's depth."""

    order: list[int]
    depths: list[int]


def measure_depths(graph: Graph) -> Depths:
    """Depth of every node: the longest path to it, in nodes, from an input (METHODS 1.1).

    Constants are no inputs: a node that only they reach has depth 0 and adds nothing to a path.
    A node that needs nothing at all (a random generator) is an input itself. A body counts in
    the place of the node that holds it, once, and that node comes after it.

    Raises
    ------
    CorruptFileError
        The graph has a cycle.
    """
    producers = graph.producers()
    needed = [
        {producers[v] for v in node.inputs if v is not None and v in producers}
        for node in graph.nodes
    ]
    waiting = [len(needs) for needs in needed]
    users: list[list[int]] = [[] for _ in graph.nodes]
    for index, needs in enumerate(needed):
        for producer in needs:
            users[producer].append(index)
    reached: dict[int, int] = dict.fromkeys(graph.inputs | graph.undefined, 0)
    depths = [0] * len(graph.nodes)
    order: list[int] = []
    ready = deque(index for index, count in enumerate(waiting) if count == 0)
    while ready:
        index = ready.popleft()
        order.append(index)
        node = graph.nodes[index]
        paths = [reached[v] for v in node.inputs if v is not None and v in reached]
        if paths or not any(value is not None for value in node.inputs):
            depths[index] = max(paths, default=0) + node.cost
            reached.update((value, depths[index]) for value in node.outputs if value is not None)
        for user in users[index]:
            waiting[user] -= 1
            if waiting[user] == 0:
                ready.append(user)
    if len(order) < len(graph.nodes):
        msg = "Its graph has a cycle, so it is no network that could run. Export it again."
        raise CorruptFileError(msg)
    return Depths(order, depths)
