"""A training does what a plain loop does, leaves what is frozen, and repeats itself bit for bit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from filterdb.errors import TransferError
from filterdb.transfer.data import Images, load_splits
from filterdb.transfer.networks.building import build
from filterdb.transfer.parts import fingerprint, fingerprint_of_rest, freeze, part_of
from filterdb.transfer.run import Budget
from filterdb.transfer.training import checked_device, torch_threads, train

BUDGET = Budget(2, batch=64, augment=False)


@pytest.fixture(scope="module")
def digits() -> tuple[Images, Images]:
    return load_splits("digits", size=8, channels=1)


def network(seed: int = 0, **arguments: int) -> nn.Module:
    given = {"width": 8, "depth": 2} | arguments
    return build("convmixer", classes=10, channels=1, size=8, seed=seed, **given)


def plain(model: nn.Module, images: Images, budget: Budget, seed: int) -> list[float]:
    """The same training in the usual words: float images, contiguous, a scheduler of torch."""
    pixels = images.images.astype(np.float64) / 255
    axes = (0, 1, 2)
    normal = (pixels - pixels.mean(axes)) / pixels.std(axes)
    x = torch.tensor(normal.transpose(0, 3, 1, 2).copy(), dtype=torch.float32)
    y = torch.tensor(images.labels)
    total = budget.epochs * (len(x) // budget.batch)
    warm = round(budget.warmup * total)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed}, {"params": others, "weight_decay": 0}],
        lr=budget.rate, weight_decay=budget.decay,
    )  # fmt: skip
    rise = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / warm, 1, warm - 1)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, total - warm)
    losses = []
    model.train()
    step = 0
    for epoch in range(budget.epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(x))
        own = []
        for index in order[: len(order) // budget.batch * budget.batch].reshape(-1, budget.batch):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(x[index]), y[index])
            loss.backward()
            optimiser.step()
            step += 1
            if step < warm:
                rise.step()
            elif step > warm:  # the first step of the fall has the full rate, too
                fall.step()
            own.append(loss.item())
        losses.append(float(np.mean(own)))
    return losses


def test_it_is_the_plain_loop(digits) -> None:
    ours, theirs = network(), network()
    found = train(ours, *digits, budget=BUDGET, seed=5)
    expected = plain(theirs, digits[0], BUDGET, 5)
    np.testing.assert_allclose(found.train_loss, expected, rtol=1e-3)
    assert found.steps == 2 * (len(digits[0]) // 64)
    assert not found.diverged


def test_the_test_is_of_all_test_images(digits) -> None:
    model = network()
    found = train(model, *digits, budget=BUDGET)
    _, test = digits
    mean, std = digits[0].images.mean() / 255, digits[0].images.std() / 255
    x = torch.tensor((test.images / 255 - mean) / std, dtype=torch.float32).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = model.eval()(x).double()
    right = (logits.argmax(1).numpy() == test.labels).mean()
    loss = nn.functional.cross_entropy(logits, torch.tensor(test.labels)).item()
    assert found.accuracy == pytest.approx(right)
    assert found.test_loss == pytest.approx(loss, rel=1e-4)


def test_it_learns(digits) -> None:
    model = network(width=16)
    found = train(model, *digits, budget=Budget(8, batch=32, rate=1e-2, augment=False))
    assert found.accuracy is not None
    assert found.accuracy > 0.7
    assert found.train_loss[-1] < found.train_loss[0] / 2


def test_frozen_filters_are_the_same_bits(digits) -> None:
    model = network()
    slots = part_of(model, "depthwise")
    freeze(slots)
    before, rest = fingerprint(slots), fingerprint_of_rest(model, slots)
    train(model, *digits, budget=BUDGET)
    assert fingerprint(slots) == before
    assert fingerprint_of_rest(model, slots) != rest


def test_filters_that_are_not_frozen_change(digits) -> None:
    model = network()
    slots = part_of(model, "depthwise")
    before = fingerprint(slots)
    train(model, *digits, budget=replace(BUDGET, steps=1))
    assert fingerprint(slots) != before


def test_the_same_seed_is_the_same_bits(digits) -> None:
    budget = replace(BUDGET, augment=True)
    results = []
    for seed in (1, 1, 2):
        model = network()
        with torch_threads(1):
            found = train(model, *digits, budget=budget, seed=seed)
        results.append((found.train_loss, found.test_loss, fingerprint_of_rest(model, ())))
        torch.rand(3)  # a caller's random numbers do not matter
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_random_numbers_of_torch_are_left_as_they_are(digits) -> None:
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    train(network(), *digits, budget=replace(BUDGET, steps=1))
    assert torch.equal(torch.rand(2), expected)


def test_it_ends_where_the_loss_is_not_finite(digits) -> None:
    model = network()
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    found = train(model, *digits, budget=replace(BUDGET, epochs=50))
    assert found.diverged
    assert found.steps < 50
    assert (found.accuracy, found.test_loss) == (None, None)


def test_a_rate_without_measure_diverges(digits) -> None:
    found = train(network(), *digits, budget=replace(BUDGET, rate=1e30, optimiser="sgd"))
    assert found.diverged


def test_progress_is_told_after_every_pass(digits) -> None:
    told: list[tuple[int, int, float]] = []
    found = train(network(), *digits, budget=replace(BUDGET, steps=50),
                  progress=lambda *values: told.append(values))  # fmt: skip
    per_pass = len(digits[0]) // 64
    assert [step for step, _, _ in told] == [per_pass, 2 * per_pass, 50]
    assert {total for _, total, _ in told} == {50}
    assert tuple(loss for _, _, loss in told) == found.train_loss


def test_sets_smaller_than_a_batch_train(digits) -> None:
    few = digits[0].chosen(np.arange(20))
    assert train(network(), few, digits[1], budget=BUDGET).steps == 2


def test_what_cannot_be_trained_is_said(digits) -> None:
    training, test = digits
    with pytest.raises(TransferError, match="no images"):
        train(network(), training.chosen(np.arange(0)), test, budget=BUDGET)
    with pytest.raises(TransferError, match="differ in their classes"):
        train(network(), training, load_splits("digits", size=16)[1], budget=BUDGET)
    model = network().requires_grad_(False)
    with pytest.raises(TransferError, match="nothing to train"):
        train(model, training, test, budget=BUDGET)


def test_devices() -> None:
    assert checked_device("cpu") == "cpu"
    assert checked_device("auto") in ("cpu", "cuda")
    for name in ("tpu", "cuda:99"):
        with pytest.raises(TransferError, match="device"):
            checked_device(name)
