"""The vocabulary: what a reader finds in a file, and what everybody above works with.

A reader yields :class:`Contents`: named :class:`Tensor` s, unread until asked for.
``roles.py`` turns those into a :class:`ModelFile` of :class:`ConvLayer` s.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["conv", "depthwise", "grouped", "transposed", "unknown"]
DepthSource = Literal["graph", "order"]
WeightState = Literal["raw", "folded", "no_norm", "unknown"]
Loader = Callable[[], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A tensor or layer that is not analysed, and why (one clause, no full stop)."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Norm:
    """The batch normalisation that follows a convolution (METHODS 1.1).

    Attributes
    ----------
    name
        As in the file.
    scale
        Returns ``gamma / sqrt(variance + epsilon)``, float64 of shape ``(C_out,)``: a folded
        filter is a raw one times the scale of its output channel.
    """

    name: str
    scale: Loader = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Convolution:
    """What a format that knows its graph or its layers says of one convolution.

    Attributes
    ----------
    groups
        Number of groups; ``None`` where the format does not say.
    transposed
        True for a transposed ("de-") convolution.
    stride, dilation
        Per axis (height, width); ``None`` where the format does not say.
    depth
        Longest path, in nodes, from a graph input (METHODS 1.1); ``None`` without a graph.
    state, evidence
        Whether the stored weights are ``"raw"`` (a batch normalisation follows them in the
        file), ``"folded"`` (one was multiplied into them), ``"no_norm"`` (none follows), or
        ``"unknown"``; and how that is known, one clause.
    norm
        The batch normalisation that follows raw weights.
    """

    groups: int | None = None
    transposed: bool = False
    stride: tuple[int, int] | None = None
    dilation: tuple[int, int] | None = None
    depth: int | None = None
    state: WeightState = "unknown"
    evidence: str = ""
    norm: Norm | None = None


@dataclass(frozen=True, slots=True)
class Tensor:
    """One named array of a file, unread until :attr:`load` is called.

    Attributes
    ----------
    name
        As in the file; unique within it.
    shape
        Shape of what ``load`` returns. With ``conv`` set, the layout is already
        ``(C_out, C_in/groups, kh, kw)``, transposed convolutions included; without, it is the
        PyTorch layout of a state dict.
    dtype
        Element type *in the file*: ``"float32"``, ``"bfloat16"``, ``"int8"``, ...
    load
        Returns the values as a real NumPy array of ``shape``: any float or integer dtype,
        bfloat16 and float8 widened to float32, quantised values dequantised. May be a
        read-only view of a mapped file. May raise :class:`~filterdb.errors.ReadError`.
    conv
        What the format says of the convolution; ``None`` for a bare tensor.
    scheme
        How quantised values stand for real ones, ``"per-channel, affine"``; empty where they are
        not quantised.
    identity
        Equal for tensors that are one and the same array under two names (tied weights); ``None``
        where the format does not say.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    load: Loader = field(repr=False, compare=False)
    conv: Convolution | None = None
    scheme: str = ""
    identity: Hashable = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Statement:
    """What a source itself says of a network, for a column of the catalogue.

    Attributes
    ----------
    column
        ``"license"``, ``"epoch"``, ...
    value
        As the source has it.
    source
        Where it says so, one clause: ``"metadata_props of the file: license"``.
    """

    column: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What a reader found: the tensors that may be convolution weights, in the file's order.

    Attributes
    ----------
    format
        Name of the format in the registry, e.g. ``"pytorch"``.
    tensors
        Every array with the file's order kept. One- and two-dimensional ones are included
        where the format has them (biases and norms tell ``roles.py`` channel counts).
    skipped
        What the reader itself had to leave out.
    epsilons
        Of batch normalisations among bare tensors, by their names, where they are known.
    producer
        The program that wrote the file, where it says so: ``"pytorch 1.8"``, ``"keras 2.2.4"``.
    notes
        Sentences on how the file was read: which of several state dicts was taken, which not.
    companions
        Further files that the content came from (external data), for hashing.
    statements
        What the file itself says of the network: its licence, its epoch.
    """

    format: str
    tensors: tuple[Tensor, ...]
    skipped: tuple[Skipped, ...] = ()
    producer: str | None = None
    notes: tuple[str, ...] = ()
    companions: tuple[Path, ...] = ()
    statements: tuple[Statement, ...] = ()
    epsilons: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConvLayer:
    """One convolution layer with its place in the network.

    Attributes
    ----------
    name, index
        Name in the file and position among the convolution layers, from 0.
    shape
        ``(C_out, C_in/groups, kh, kw)``.
    kind, kind_reason
        What the layer is, and how that is known.
    groups, stride, dilation
        ``None`` where unknown.
    dtype
        Element type in the file.
    conv_depth, conv_depth_norm, depth_source
        Rank of the layer's depth among the convolution depths, the same scaled to 0..1
        (0 for a network of one depth), and whether it comes from the graph or from the order
        in the file (METHODS 1.1).
    state, evidence, norm
        Whether the stored weights are raw or folded, how that is known, and the norm that
        follows: as in :class:`Convolution`.
    scheme
        As in :class:`Tensor`.
    """

    name: str
    index: int
    shape: tuple[int, int, int, int]
    kind: Kind
    kind_reason: str
    groups: int | None
    stride: tuple[int, int] | None
    dilation: tuple[int, int] | None
    dtype: str
    conv_depth: int
    conv_depth_norm: float
    depth_source: DepthSource
    load: Loader = field(repr=False, compare=False)
    state: WeightState = "unknown"
    evidence: str = ""
    norm: Norm | None = None
    scheme: str = ""

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of the filters, in taps."""
        return self.shape[2], self.shape[3]

    @property
    def out_channels(self) -> int:
        """Number of output channels."""
        return self.shape[0]

    @property
    def in_per_group(self) -> int:
        """Input channels that each output channel sees."""
        return self.shape[1]

    @property
    def n_filters(self) -> int:
        """Number of 2-D filters, ``C_out * C_in/groups``."""
        return self.shape[0] * self.shape[1]

    @property
    def weights(self) -> NDArray[np.float32]:
        """The weights, float32, C-contiguous, of :attr:`shape`; read from the file at each use."""
        return np.ascontiguousarray(self.load(), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file, read: its convolution layers in order, and what was left out.

    Attributes
    ----------
    source
        Path of the file, or a description of the live object.
    format, producer, notes, companions, statements
        As in :class:`Contents`.
    layers, skipped
        The convolution layers, and every other candidate with its reason.
    weights
        What the layers' weights are: ``"stored"``, ``"raw"`` or ``"folded"``.
    states
        State of the stored weights -> number of layers, those included that were left out
        because their weights cannot be given as asked for.
    """

    source: str
    format: str
    layers: tuple[ConvLayer, ...]
    skipped: tuple[Skipped, ...] = ()
    producer: str | None = None
    notes: tuple[str, ...] = ()
    companions: tuple[Path, ...] = ()
    statements: tuple[Statement, ...] = ()
    weights: str = "stored"
    states: Mapping[str, int] = field(default_factory=dict)

    @property
    def n_filters(self) -> int:
        """Number of 2-D filters in all layers, 1x1 included."""
        return sum(layer.n_filters for layer in self.layers)

    def __repr__(self) -> str:
        return (
            f"<ModelFile {self.source!r} ({self.format}): {len(self.layers)} convolution layers, "
            f"{self.n_filters:,} filters, {len(self.skipped)} skipped>"
        )
