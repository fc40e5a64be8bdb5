"""Parts of a network: told by shape, copied and frozen bit by bit, filled from elsewhere."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn.utils import parametrize  # noqa: E402

from filterdb.errors import TransferError  # noqa: E402
from filterdb.transfer.networks.building import build  # noqa: E402
from filterdb.transfer.parts import (  # noqa: E402
    Slot,
    assign,
    copy_part,
    fill,
    fingerprint,
    fingerprint_of_rest,
    freeze,
    part_of,
    trainable,
)

PARTS = ("depthwise", "pointwise", "regular", "all")
MIXER = {"width": 8, "depth": 3}


def mixer(seed: int = 0, **arguments: Any) -> nn.Module:
    return build("convmixer", classes=4, channels=3, size=16, seed=seed, **(MIXER | arguments))


def weights(slots: tuple[Slot, ...]) -> list[torch.Tensor]:
    return [slot.module.weight.detach().clone() for slot in slots]


def train(model: nn.Module, *, steps: int = 3) -> None:
    """A few steps with all that could move a frozen weight: momentum and weight decay."""
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(trainable(model), lr=0.01, weight_decay=0.1)
    for _ in range(steps):
        images = torch.randn(8, 3, 16, 16, generator=generator)
        labels = torch.randint(4, (8,), generator=generator)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimiser.step()


@pytest.mark.parametrize(
    ("name", "given", "counts"),
    [
        ("convmixer", {"depth": 5}, (5, 5, 1)),
        ("convmixer", {"depth": 5, "patch": 1}, (5, 6, 0)),
        # Three stages of two blocks; the stem, and a 2x2 convolution between stages.
        ("convnext", {}, (6, 12, 3)),
        # Nine blocks: each projects, all but the first expand, and one layer follows.
        ("mobilenet", {}, (9, 9 + 8 + 1, 1)),
        # Three stages of two blocks of two convolutions; the stem.
        ("resnet", {}, (0, 0, 13)),
        ("resnet", {"separable": True}, (12, 12, 1)),
    ],
)
def test_parts_counted_by_hand(
    name: str, given: dict[str, int], counts: tuple[int, int, int]
) -> None:
    model = build(name, classes=4, channels=3, size=32, **given)
    found = {part: part_of(model, part) for part in PARTS}
    assert tuple(len(found[part]) for part in PARTS) == (*counts, sum(counts))
    named = dict(model.named_modules())
    for slots in found.values():
        assert [slot.position for slot in slots] == list(range(len(slots)))
        assert all(named[slot.name] is slot.module for slot in slots)
        depths = [slot.depth_norm for slot in slots]
        assert depths == sorted(set(depths))
    every = found["all"]
    assert [slot.depth_norm for slot in every] == pytest.approx(np.linspace(0, 1, len(every)))
    assert [slot.stem for slot in every] == [True] + [False] * (len(every) - 1)
    assert every[0].module.in_channels == 3


class Backwards(nn.Module):
    """Registers its layers in the wrong order, one of them twice and one for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Conv2d(5, 5, 3)
        self.head = nn.Linear(6, 2)
        self.last = nn.Conv2d(6, 6, 1, groups=6)
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.multiplied = nn.Conv2d(3, 6, (1, 3), groups=3)
        self.twice = nn.Conv2d(1, 3, 3)
        self.again = self.twice
        self.noise = nn.Dropout()
        self.norm = nn.BatchNorm2d(6).eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.noise(self.multiplied(self.twice(x)))
        return self.head(self.norm(self.last(self.grouped(x))).mean((2, 3)))


def test_order_is_that_of_the_forward_pass() -> None:
    model = Backwards()
    modes = {name: module.training for name, module in model.named_modules()}
    state, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    every = part_of(model, "all")
    assert [slot.name for slot in every] == ["twice", "multiplied", "grouped", "last", "unused"]
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(not module._forward_pre_hooks for module in model.modules())
    # One input channel and one group is no depthwise layer; a 1x1 of one channel each is nothing.
    assert [slot.name for slot in part_of(model, "depthwise")] == ["multiplied"]
    assert [slot.name for slot in part_of(model, "regular")] == ["twice", "unused"]
    assert part_of(model, "pointwise") == ()
    assert [(slot.filters, slot.kernel) for slot in every[:3]] == [
        (3, (3, 3)), (6, (1, 3)), (18, (3, 3))]  # fmt: skip


class Picky(nn.Module):
    """Takes images of one size only, which nobody would guess."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Conv2d(4, 4, 3, groups=4)
        self.a = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x)
        if x.shape[-1] != 9:
            msg = "11 pixels"
            raise ValueError(msg)
        return self.b(x)


def test_without_a_forward_pass_the_order_is_that_of_registration() -> None:
    assert [slot.name for slot in part_of(Picky(), "all")] == ["b", "a"]
    sample = torch.zeros(1, 3, 11, 11)
    assert [slot.name for slot in part_of(Picky(), "all", sample=sample)] == ["a", "b"]
    assert part_of(nn.Linear(2, 2), "all") == ()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("first", [0, 1, None])
def test_a_copy_reaches_the_part_and_nothing_else(part: str, first: int | None) -> None:
    source, target = mixer(seed=1), mixer(seed=2)
    for norm in source.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight)
    before = copy.deepcopy(target.state_dict())
    donor = copy.deepcopy(source.state_dict())
    slots = copy_part(source, target, part, first=first)
    assert len(slots) == (len(part_of(target, part)) if first is None else first)
    copied = {f"{slot.name}.weight" for slot in slots}
    for name, tensor in target.state_dict().items():
        expected = donor[name] if name in copied else before[name]
        assert torch.equal(tensor, expected), name
    assert all(torch.equal(tensor, donor[name]) for name, tensor in source.state_dict().items())
    assert fingerprint(slots) == fingerprint(part_of(source, part)[: len(slots)])
    untouched = mixer(seed=2)
    same = [slot for slot in part_of(untouched, "all") if f"{slot.name}.weight" in copied]
    assert fingerprint_of_rest(target, slots) == fingerprint_of_rest(untouched, same)


def test_a_copy_is_no_link() -> None:
    source, target = mixer(seed=1), mixer(seed=2)
    slots = copy_part(source, target, "depthwise")
    print_of_source = fingerprint(part_of(source, "depthwise"))
    train(target)
    assert fingerprint(part_of(source, "depthwise")) == print_of_source
    assert fingerprint(slots) != print_of_source


@pytest.mark.parametrize("part", PARTS)
def test_frozen_filters_stay_bit_by_bit_and_all_else_learns(part: str) -> None:
    model = mixer()
    slots = part_of(model, part)[:2]
    train(model, steps=1)  # leaves gradients behind
    freeze(slots)
    frozen, mark = weights(slots), fingerprint(slots)
    before = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    train(model)
    assert fingerprint(slots) == mark
    assert all(
        torch.equal(slot.module.weight, old) for slot, old in zip(slots, frozen, strict=True)
    )
    kept = {f"{slot.name}.weight" for slot in slots}
    assert kept == {name for name, old in before.items()
                    if torch.equal(dict(model.named_parameters())[name], old)}  # fmt: skip
    assert not {id(p) for p in trainable(model)} & {id(slot.module.weight) for slot in slots}


def test_an_optimiser_that_has_frozen_filters_leaves_them_alone() -> None:
    model = mixer()
    slots = part_of(model, "depthwise")
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    model(torch.randn(4, 3, 16, 16)).square().sum().backward()
    optimiser.step()
    freeze(slots)
    mark = fingerprint(slots)
    optimiser.step()
    assert fingerprint(slots) == mark


def test_fingerprints_see_one_bit_and_no_memory_format() -> None:
    model = mixer()
    slots = part_of(model, "depthwise")
    mark, rest = fingerprint(slots), fingerprint_of_rest(model, slots)
    model.to(memory_format=torch.channels_last)
    assert (fingerprint(slots), fingerprint_of_rest(model, slots)) == (mark, rest)
    with torch.no_grad():
        slots[1].module.weight.view(-1)[3].nextafter_(torch.tensor(10.0))
    assert fingerprint(slots) != mark
    assert fingerprint(slots[:1]) == fingerprint(part_of(mixer(), "depthwise")[:1])
    assert fingerprint_of_rest(model, slots) == rest
    model(torch.zeros(2, 3, 16, 16))  # BatchNorm counts
    assert fingerprint_of_rest(model, slots) != rest
    assert fingerprint(slots[::-1]) != fingerprint(slots)


def test_what_cannot_be_copied() -> None:
    target = mixer()
    mark = fingerprint(part_of(target, "all"))
    resnet = build("resnet", classes=4, channels=3, size=16, width=4)
    for source, part, first, message in [
        (mixer(kernel=7), "depthwise", None, r"'1.0.0.inner.0' \(8x1x7x7, kernel 7x7\) of the "
         r"donor do not fit '1.0.0.inner.0' \(8x1x3x3, kernel 3x3\)"),
        (mixer(width=6), "pointwise", 1, "6x6x1x1.*8x8x1x1"),
        (resnet, "depthwise", None, "The donor has no depthwise layers"),
        (mixer(depth=4), "depthwise", None, "donor has 4 depthwise layers and the target 3"),
        (mixer(depth=2), "depthwise", 3, "The first 3 .* donor has 2, the target 3"),
        (mixer(), "depthwise", -1, "The first -1"),
        (mixer(), "depthwis", None, "no part 'depthwis': it is one of depthwise"),
    ]:  # fmt: skip
        with pytest.raises(TransferError, match=message):
            copy_part(source, target, part, first=first)
    with pytest.raises(TransferError, match="The target has no depthwise layers"):
        copy_part(target, resnet, "depthwise")
    assert fingerprint(part_of(target, "all")) == mark
    # Deeper donors do where a number is said.
    assert len(copy_part(mixer(seed=3, depth=4), target, "depthwise", first=3)) == 3


def test_computed_weights_are_refused() -> None:
    model = mixer()
    slots = part_of(model, "depthwise")
    nn.utils.parametrizations.weight_norm(slots[0].module)
    assert parametrize.is_parametrized(slots[0].module)
    for act in (lambda: freeze(slots), lambda: copy_part(mixer(), model, "depthwise")):
        with pytest.raises(TransferError, match="is computed anew in each pass"):
            act()


def donor_layers(*sizes: int, kernel: int = 3) -> list[np.ndarray]:
    """Layers whose every filter can be told: filter j of layer i is i + j / 1000 all over."""
    return [
        np.full((size, kernel, kernel), i) + (np.arange(size) / 1000)[:, None, None]
        for i, size in enumerate(sizes)
    ]


def nearest(position: int, slots: int, donors: int) -> int:
    """The oracle: relative depths as fractions, and the first of the nearest."""
    from fractions import Fraction

    here = Fraction(position, max(slots - 1, 1))
    far = [abs(here - Fraction(donor, max(donors - 1, 1))) for donor in range(donors)]
    return far.index(min(far))


@pytest.mark.parametrize("depth", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("donors", [1, 2, 3, 5, 8])
def test_assign_by_depth(depth: int, donors: int) -> None:
    slots = part_of(mixer(depth=depth), "depthwise")
    given = assign(donor_layers(*[5] * donors), slots, how="depth")
    assert [filters.shape for filters in given] == [(8, 1, 3, 3)] * depth
    assert all(filters.dtype == np.float32 for filters in given)
    layers = [set(np.floor(filters[:, 0, 0, 0] + 1e-4)) for filters in given]
    assert layers == [{nearest(i, depth, donors)} for i in range(depth)]
    # Each filter of a donor layer is used equally often, give or take one.
    uses = Counter(np.round(np.concatenate(given)[:, 0, 0, 0], 3).tolist())
    for layer in range(donors):
        counts = [uses[float(np.round(np.float32(layer + j / 1000), 3))] for j in range(5)]
        assert max(counts) - min(counts) <= 1


def test_assign_from_the_pool() -> None:
    slots = part_of(mixer(depth=4), "depthwise")  # 32 filters
    donors = donor_layers(3, 0, 7)
    given = assign(donors, slots, how="pool", seed=1)
    uses = Counter(np.concatenate(given)[:, 0, 0, 0].tolist())
    known = {float(value) for layer in donors for value in layer[:, 0, 0].astype(np.float32)}
    assert set(uses) == known
    assert sorted(uses.values()) == [3] * 8 + [4] * 2
    again, other = (assign(donors, slots, how="pool", seed=seed) for seed in (1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(given, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(given, other, strict=True))


def test_assigned_filters_are_written_and_kept() -> None:
    model = mixer()
    slots = part_of(model, "depthwise")
    untouched = fingerprint_of_rest(model, slots)
    given = assign(donor_layers(4, 4), slots)
    fill(slots, given)
    assert fingerprint_of_rest(model, slots) == untouched
    freeze(slots)
    train(model)
    for slot, filters in zip(slots, given, strict=True):
        assert np.array_equal(slot.module.weight.detach().numpy(), filters)


def test_regular_layers_can_be_filled_too() -> None:
    slots = part_of(build("resnet", classes=2, channels=3, size=16, width=4), "regular")
    given = assign(donor_layers(9), slots)
    assert [filters.shape for filters in given] == [tuple(s.module.weight.shape) for s in slots]
    assert given[0].size == slots[0].filters * 9


def test_what_cannot_be_assigned() -> None:
    slots = part_of(mixer(), "depthwise")
    for donors, where, how, message in [
        (donor_layers(4, kernel=7), slots, "depth", "filters are 7x7 and those .* 3x3"),
        (donor_layers(4) + donor_layers(4, kernel=5), slots, "pool", "filters are 5x5"),
        ([], slots, "depth", "no filters to give"),
        (donor_layers(0), slots, "pool", "no filters to give"),
        (donor_layers(4), (), "pool", "no layers that could be given"),
        ([np.full((2, 3, 3), np.nan)], slots, "pool", "not finite"),
        (donor_layers(4), slots, "deep", "by 'deep': it is one of depth, pool"),
    ]:
        with pytest.raises(TransferError, match=message):
            assign(donors, where, how=how)
    mark = fingerprint(slots)
    with pytest.raises(TransferError, match="for 1 layers, and the network has 3"):
        fill(slots, assign(donor_layers(4), slots[:1]))
    good = assign(donor_layers(4), slots)
    with pytest.raises(TransferError, match=r"shape 8x3x3 do not fit the layer '1\.2"):
        fill(slots, [*good[:2], good[2][:, 0]])
    assert fingerprint(slots) == mark
