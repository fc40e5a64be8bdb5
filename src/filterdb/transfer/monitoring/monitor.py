"""``Monitor``: what happens to the filters of a network while it learns."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from math import prod
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from filterdb.checking import MEASURES, SIDE_BY_SIDE, check_layer
from filterdb.errors import NoConvolutionError, TransferError
from filterdb.layer import ConvLayer
from filterdb.readers.live import is_module
from filterdb.reading import Source
from filterdb.stats.verdict import DEFAULT_THRESHOLDS, Thresholds
from filterdb.threads import map_in_threads
from filterdb.transfer.monitoring.layers import layers_like, layers_of
from filterdb.transfer.monitoring.record import Record
from filterdb.transfer.monitoring.sinks import Target, sinks_of
from filterdb.transfer.monitoring.start import UNKNOWN, Start
from filterdb.words import counted

if TYPE_CHECKING:
    import pandas as pd

Result = TypeVar("Result")


class Monitor:
    """Records the health of every convolution layer, and its shift, after each epoch.

    Training is not touched: no gradient, no random number, no mode and no weight changes, and
    weights on a GPU are copied from it a layer at a time. A weight that several layers share counts
    once. Every filter is measured, none is sampled.

    Parameters
    ----------
    model
        A ``torch.nn.Module``; one wrapped by ``torch.compile`` or ``DataParallel`` will do.
    every
        Record every so many epochs.
    to
        Where records go as they come, beside :attr:`records`: the path of a CSV file (which is
        appended to), a TensorBoard ``SummaryWriter`` or anything with its ``add_scalar``, a
        function that takes the records of an epoch; or a list of these.
    initial
        What the shift is measured from, as :func:`filterdb.read` takes it: a checkpoint, a state
        dict, a module. The network as it is now, if not given.
    epoch
        Epochs that are done already, of a training that is taken up again. Epoch 0, the start, is
        recorded at once.
    thresholds
        Where the verdicts change.

    Attributes
    ----------
    records
        All records, by epoch and layer: a list of
        :class:`~filterdb.transfer.monitoring.record.Record`.
    epoch
        Epochs done.

    Raises
    ------
    NoConvolutionError
        The network has no 2-D convolutions.
    ReadError
        ``initial`` cannot be read.
    ExportError
        The CSV file cannot be written.
    TransferError
        An argument makes no sense.

    Notes
    -----
    The shift is the papers' divergence D between the layer's filters now and at the start. D is
    biased upwards in small samples, so a layer of few filters has a large one whatever happens:
    each record has beside it, as ``shift_null``, the D that as many filters drawn afresh from the
    same distribution hardly exceed, and a shift below that is no finding. ``relative_l2`` and
    ``cosine`` say how far the weights moved, without noise, and whether or not their distribution
    changed.

    It keeps a copy of the initial weights of the convolutions (4 bytes a weight, in the memory of
    the computer and not of the GPU) and about 5 KB a layer of 3x3 filters.

    A layer is known by its name. One that was not there at the start, or had another shape, is
    measured without a shift, and a warning says so, once.

    Examples
    --------
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Flatten(), nn.LazyLinear(10))
    >>> with Monitor(network) as monitor:
    ...     for _ in range(2):
    ...         pass  # one epoch
    ...         records = monitor.step()
    >>> [(record.epoch, record.layer, record.shift) for record in monitor.records]
    [(0, '0', 0.0), (1, '0', 0.0), (2, '0', 0.0)]
    """

    def __init__(
        self,
        model: Any,
        *,
        every: int = 1,
        to: Target | Iterable[Target] = (),
        initial: Source | None = None,
        epoch: int = 0,
        thresholds: Thresholds = DEFAULT_THRESHOLDS,
    ) -> None:
        if not is_module(model):
            msg = f"A Monitor watches a torch.nn.Module, and not a {type(model).__name__}."
            raise TransferError(msg)
        whole_number("every", every, least=1)
        whole_number("epoch", epoch, least=0)
        self.model = model
        self.epoch = epoch
        self.records: list[Record] = []
        self._every = every
        self._thresholds = thresholds
        layers = layers_of(model)
        self._starts = started(layers if initial is None else layers_like(model, initial), layers)
        self._told: set[str] = set()
        self._sinks = sinks_of(to)
        self._recorded = epoch
        if epoch == 0:
            self._record(layers)

    def step(self) -> tuple[Record, ...]:
        """Say that an epoch is done.

        Returns
        -------
        tuple of Record
            One a layer; none where ``every`` passes the epoch over.
        """
        self.epoch += 1
        return self._record() if self.epoch % self._every == 0 else ()

    def finish(self) -> tuple[Record, ...]:
        """Record the last epoch, where ``every`` has passed it over.

        A ``with`` block does so where it ends without an error.
        """
        return self._record() if self._recorded < self.epoch else ()

    def to_pandas(self) -> pd.DataFrame:
        """One row a record (needs the extra ``pandas``)."""
        from filterdb.extras import data_frame

        return data_frame([asdict(record) for record in self.records])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        if kind is None:
            self.finish()

    def __repr__(self) -> str:
        return (
            f"<Monitor of a {type(self.model).__name__}: epoch {self.epoch}, "
            f"{counted(len(self.records), 'record')}>"
        )

    def _record(self, layers: tuple[ConvLayer, ...] | None = None) -> tuple[Record, ...]:
        """Measure all layers, and pass the records on."""
        if layers is None:
            try:
                layers = layers_of(self.model)
            except NoConvolutionError:  # gone: a training does not end for that
                layers = ()
        self._tell(layers)
        found = tuple(side_by_side(self._measured, layers))
        self._recorded = self.epoch
        self.records += found
        for sink in self._sinks if found else ():
            sink(found)
        return found

    def _measured(self, layer: ConvLayer) -> Record:
        """The record of one layer; its weights are fetched once."""
        fetched: list[NDArray[np.float32]] = []

        def visit(_layer: ConvLayer, weights: NDArray[np.float32]) -> None:
            fetched.append(weights)

        row = check_layer(layer, self._thresholds, visit)
        start = self._starts.get(layer.name)
        known = start is not None and start.weights.shape == layer.shape
        moved = start.moved(fetched[0]) if start is not None and known else UNKNOWN
        return Record(
            epoch=self.epoch,
            layer=layer.name,
            index=layer.index,
            kernel=layer.kernel,
            kind=layer.kind,
            n_filters=layer.n_filters,
            **{name: getattr(row.quality, name) for name in MEASURES},
            verdict=row.verdict,
            reason=row.reason,
            **asdict(moved),
        )

    def _tell(self, layers: tuple[ConvLayer, ...]) -> None:
        """Warn of layers that came, went or changed their shape, of each once."""
        here = {layer.name: layer.shape for layer in layers}
        there = {name: start.weights.shape for name, start in self._starts.items()}
        new = [name for name, shape in here.items() if there.get(name) != shape]
        gone = [name for name in there if name not in here]
        sentences = [
            (new, "were not there at the start, or had another shape: they have no shift"),
            (gone, "are no longer there: they are not recorded"),
        ]
        for names, what in sentences:
            if fresh := [name for name in names if name not in self._told]:
                self._told.update(fresh)
                warnings.warn(
                    f"Epoch {self.epoch}: the layers {', '.join(map(repr, fresh))} {what}.",
                    RuntimeWarning,
                    stacklevel=4,
                )


def started(sources: Sequence[ConvLayer], layers: Sequence[ConvLayer]) -> dict[str, Start]:
    """The starts of the layers, by name, from the sources that have them."""
    names = {layer.name for layer in layers}
    found = [layer for layer in sources if layer.name in names]
    starts = side_by_side(lambda layer: Start.of(layer.weights), found)
    return {layer.name: start for layer, start in zip(found, starts, strict=True)}


def side_by_side(
    function: Callable[[ConvLayer], Result], layers: Sequence[ConvLayer]
) -> list[Result]:
    """Apply a function to every layer; to those of a large network in threads."""
    if sum(prod(layer.shape) for layer in layers) >= SIDE_BY_SIDE:
        return map_in_threads(function, layers)
    return [function(layer) for layer in layers]


def whole_number(name: str, value: object, *, least: int) -> None:
    """Refuse what is no whole number of ``least`` or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        msg = f"{name} is a whole number from {least} on, and not {value!r}."
        raise TransferError(msg)
