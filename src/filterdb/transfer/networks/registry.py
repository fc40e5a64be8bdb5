"""Which networks there are, and which arguments they take: for plans and help texts, no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from filterdb.errors import TransferError

Value = int | bool
"""What the arguments of the built-in networks are."""

SMALLEST = 8
"""Height and width in pixels of the smallest images, for every network."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a built-in network.

    Attributes
    ----------
    default
        A whole number, or a truth value.
    text
        What it is, for help texts.
    least
        The least number that makes sense.
    odd
        Whether only odd numbers do: an even kernel has no middle.
    """

    default: Value
    text: str
    least: int = 1
    odd: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """A built-in network; the module of its name has a function of its name.

    Attributes
    ----------
    text
        What it is, in one line.
    arguments
        By name; their defaults stand nowhere else.
    least_size
        Height and width in pixels of the smallest image that the arguments allow.
    """

    text: str
    arguments: Mapping[str, Argument]
    least_size: Callable[[Mapping[str, Value]], int] = lambda _: SMALLEST


def _kernel(default: int) -> Argument:
    return Argument(default, "size of the depthwise filters", least=3, odd=True)


NETWORKS: Mapping[str, Network] = {
    "convmixer": Network(
        "isotropic: patches, then depthwise and pointwise convolutions of one width",
        {
            "width": Argument(48, "channels"),
            "depth": Argument(8, "blocks, each with one depthwise layer"),
            "kernel": _kernel(3),
            "patch": Argument(2, "size and stride of the patch embedding in pixels"),
        },
        lambda given: max(SMALLEST, given["patch"]),
    ),
    "convnext": Network(
        "7x7 depthwise convolutions, inverted bottlenecks, LayerNorm and layer scale",
        {
            "width": Argument(32, "channels of the first stage; each stage doubles them"),
            "stages": Argument(3, "stages, each at half the resolution of the one before"),
            "blocks": Argument(2, "blocks of a stage, each with one depthwise layer"),
            "kernel": _kernel(7),
            "patch": Argument(2, "size and stride of the patch embedding in pixels"),
            "expansion": Argument(4, "channels inside a block, as a multiple of those outside"),
        },
        lambda given: max(SMALLEST, given["patch"] * 2 ** (given["stages"] - 1)),
    ),
    "mobilenet": Network(
        "MobileNetV2-like: inverted residuals with depthwise convolutions in the middle",
        {
            "width": Argument(16, "channels of the first stage; each stage doubles them"),
            "stages": Argument(3, "stages, each at half the resolution of the one before"),
            "blocks": Argument(3, "blocks of a stage, each with one depthwise layer"),
            "kernel": _kernel(3),
            "stride": Argument(2, "stride of the first convolution"),
            "expansion": Argument(4, "channels inside a block, as a multiple of those outside"),
        },
    ),
    "resnet": Network(
        "regular 3x3 ResNet for small images; separable=true replaces its convolutions",
        {
            "width": Argument(16, "channels of the first stage; each stage doubles them"),
            "stages": Argument(3, "stages, each at half the resolution of the one before"),
            "blocks": Argument(2, "blocks of a stage, each with two 3x3 convolutions"),
            "stride": Argument(2, "stride of the first convolution"),
            "separable": Argument(
                default=False, text="3x3 depthwise and pointwise instead of each 3x3 convolution"
            ),
        },
    ),
}
"""The built-in networks by name."""

PATTERNS: Mapping[str, str] = {
    "MODULE:FUNCTION": "your own: FUNCTION(classes=, channels=) of MODULE returns the nn.Module",
    "timm:NAME": "a network of timm without its trained weights, where timm is installed",
}
"""The other names that :func:`~filterdb.transfer.networks.building.build` takes."""


def checked_arguments(name: str, given: Mapping[str, object]) -> dict[str, object]:
    """Every argument of a network: those given, and the defaults of the others.

    Parameters
    ----------
    name
        As in :data:`NETWORKS`, or after one of the :data:`PATTERNS`: what the user's own function
        or timm makes of their arguments is theirs, and is handed back as it is.
    given
        By name.

    Raises
    ------
    TransferError
        There is no such network or argument (the nearest name and the list are shown), or a
        value makes no sense.
    """
    if ":" in name:
        return dict(given)
    if name not in NETWORKS:
        others = ", ".join(PATTERNS)
        msg = (
            f"There is no network {name!r}{_nearest(name, NETWORKS)}. There are "
            f"{', '.join(NETWORKS)}, and {others}."
        )
        raise TransferError(msg)
    known = NETWORKS[name].arguments
    for argument, value in given.items():
        if argument not in known:
            msg = (
                f"The network {name!r} has no argument {argument!r}{_nearest(argument, known)}. "
                f"It has {', '.join(known)}."
            )
            raise TransferError(msg)
        if wrong := _wrong(value, known[argument]):
            msg = f"{argument}={value!r} of the network {name!r} is {wrong}."
            raise TransferError(msg)
    return {argument: given.get(argument, known[argument].default) for argument in known}


def check_size(name: str, given: Mapping[str, Value], size: int) -> None:
    """Refuse images that are too small for a network.

    Raises
    ------
    TransferError
        They are.
    """
    least = NETWORKS[name].least_size(given) if name in NETWORKS else SMALLEST
    if size < least:
        settings = ", ".join(f"{key}={value}" for key, value in given.items())
        msg = (
            f"Images of {size}x{size} are too small for the network {name!r} with {settings}: "
            f"it takes at least {least}x{least}. Resize them, or take fewer stages."
        )
        raise TransferError(msg)


def _nearest(name: str, known: Mapping[str, object]) -> str:
    """A question with the name that may be meant; empty where none is near."""
    close = get_close_matches(name, known, n=1)
    return f" (do you mean {close[0]!r}?)" if close else ""


def _wrong(value: object, argument: Argument) -> str | None:
    """What is wrong with a value."""
    if isinstance(argument.default, bool):
        return None if isinstance(value, bool) else "neither true nor false"
    if isinstance(value, bool) or not isinstance(value, int):
        return "no whole number"
    if value < argument.least:
        return f"too small: it is at least {argument.least}"
    if argument.odd and value % 2 == 0:
        return "even, and a kernel without a middle shifts the image: take an odd number"
    return None
