"""The training loop: seeded, on one thread, the same bytes each time on one machine."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from demo_zoo.tasks import Task, evaluate

BATCH = 64
TEST_IMAGES = 1000


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train.

    Attributes
    ----------
    images, epochs
        Number of training images, and of passes over them; 0 epochs leave the random start.
    rate, decay
        Peak learning rate (one cycle: up, then down to nothing) and weight decay.
    adam
        AdamW in place of SGD with Nesterov momentum.
    keep
        Epochs after which the network is kept; by default only the last.
    seed
        Of the start, the images and their order.
    """

    images: int = 3000
    epochs: int = 20
    rate: float = 0.1
    decay: float = 5e-3
    adam: bool = False
    keep: tuple[int, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """A network at some epoch, and its score on held-out images."""

    epoch: int
    state: dict[str, Tensor]
    score: float


def _optimiser(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    if plan.adam:
        return torch.optim.AdamW(model.parameters(), plan.rate, weight_decay=plan.decay)
    return torch.optim.SGD(
        model.parameters(), plan.rate, momentum=0.9, nesterov=True, weight_decay=plan.decay
    )


def train(build: Callable[[], nn.Module], task: Task, plan: Plan) -> Iterator[Kept]:
    """Train a network and yield it at each epoch that the plan keeps."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(plan.seed)
    model = build()
    held_out = task.data(TEST_IMAGES, plan.seed, test=True)
    keep = plan.keep or (plan.epochs,)
    if 0 in keep:
        yield Kept(0, copy.deepcopy(model.state_dict()), evaluate(model, task, held_out))
    if plan.epochs == 0:
        return
    inputs, targets = task.data(plan.images, plan.seed, test=False)
    optimiser = _optimiser(model, plan)
    steps = plan.epochs * -(-plan.images // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.rate, total_steps=steps, pct_start=0.2
    )
    for epoch in range(1, plan.epochs + 1):
        for batch in torch.randperm(plan.images).split(BATCH):
            loss = task.loss(model(inputs[batch]), targets[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        if epoch in keep:
            settled = settle(model, inputs)
            yield Kept(epoch, settled.state_dict(), evaluate(settled, task, held_out))


def settle(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Copy a network and average its BatchNorm statistics over all training images.

    The running ones lag behind while the learning rate is high, and then a checkpoint in
    mid-training scores like chance. No weight changes.
    """
    model = copy.deepcopy(model).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        for batch in inputs.split(BATCH):
            model(batch)
    return model
