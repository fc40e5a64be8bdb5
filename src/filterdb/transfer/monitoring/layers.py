"""The convolution layers of a network in training, read without disturbing it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from filterdb.layer import ConvLayer
from filterdb.readers.live import bare, convolutions, stated
from filterdb.readers.reparametrised import part_of
from filterdb.reading import Source, contents_of, read
from filterdb.roles import assign_roles


def layers_of(model: nn.Module) -> tuple[ConvLayer, ...]:
    """The convolution layers of a network, each weight once, under its first name.

    Their kinds are those that the modules state. Wrappers (``torch.compile``, ``DataParallel``)
    leave no trace in the names.

    Raises
    ------
    NoConvolutionError
        There are none.
    """
    with undisturbed(model):
        file = read(model)
    again = repeated(model)
    return tuple(layer for layer in file.layers if bare(layer.name) not in again)


def layers_like(model: nn.Module, source: Source) -> tuple[ConvLayer, ...]:
    """The convolution layers of another state of a network, which may be a bag of bare weights.

    Parameters
    ----------
    model
        What says which of the weights are transposed.
    source
        As :func:`filterdb.read` takes it.

    Raises
    ------
    ReadError
        It cannot be read.
    """
    contents, name = contents_of(source)
    facts = convolutions(model)
    tensors = (tensor if tensor.conv else stated(tensor, facts) for tensor in contents.tensors)
    return assign_roles(replace(contents, tensors=tuple(tensors)), name).layers


def repeated(model: nn.Module) -> set[str]:
    """Names of the layers, with and without ``.weight``, whose weights an earlier one has too."""
    seen: set[int] = set()
    # A weight may be stored in parts: it is an earlier one if all of them are.
    new: defaultdict[str, bool] = defaultdict(bool)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        part = part_of(name)
        new[bare(part[0] if part else name)] |= id(parameter) not in seen
        seen.add(id(parameter))
    again = {name for name, is_new in new.items() if not is_new}
    return again | {name.removesuffix(".weight") for name in again}


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Leave torch's random numbers as they are: computing a parametrised weight may draw some."""
    if not any(hasattr(layer, "parametrizations") for layer in model.modules()):
        yield
        return
    gpus = {weight.device for weight in model.parameters() if weight.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(gpus)):
        yield
