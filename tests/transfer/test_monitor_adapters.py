"""The monitor in the trainers of others, where they are installed."""

from __future__ import annotations

import copy
import sys
from importlib import import_module

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import filterdb.torch as own
from filterdb.errors import ExportError, MissingExtraError
from filterdb.torch import Monitor

IMAGES = 12


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )


def data():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(IMAGES, 3, 8, 8, generator=generator), torch.arange(IMAGES) % 2


def expected(epochs, initial, final, name):
    """Epochs that were recorded, and the last record of the layer from its states alone."""
    monitor = Monitor(final, initial=initial, epoch=epochs - 1)
    (last,) = monitor.step()
    assert last.layer == name
    return last


def forget(name, monkeypatch):
    """Let a callback be made anew, for the packages that are there now."""
    monkeypatch.delitem(vars(own), name, raising=False)
    home = f"filterdb.transfer.monitoring.{own._HOME[name]}"
    monkeypatch.delitem(sys.modules, home, raising=False)


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def lightning(request, monkeypatch):
    """Either package, with the callback made for it."""
    pytest.importorskip(request.param)
    forget("LightningMonitor", monkeypatch)
    others = {"lightning.pytorch", "pytorch_lightning"} - {request.param}
    for other in others:
        monkeypatch.delitem(sys.modules, other, raising=False)
    return import_module(request.param)


def lightning_module(lightning):
    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network()

        def training_step(self, batch, _):
            return functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    return Module()


@pytest.mark.filterwarnings("ignore")  # Lightning has a good deal to say of small data
def test_lightning(lightning, tmp_path):
    from filterdb.torch import LightningMonitor

    assert issubclass(LightningMonitor, lightning.Callback)

    def trainer(epochs, *callbacks, keep=False):
        return lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", callbacks=list(callbacks), logger=False,
            enable_checkpointing=keep, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=tmp_path,
        )  # fmt: skip

    loader = DataLoader(TensorDataset(*data()), batch_size=4)
    module = lightning_module(lightning)
    before = copy.deepcopy(module.state_dict())
    watch = LightningMonitor(every=2, to=tmp_path / "records.csv")
    assert watch.records == []
    first = trainer(3, watch, keep=True)
    first.fit(module, loader)
    assert [record.epoch for record in watch.records] == [0, 2, 3]
    assert watch.records[-1] == expected(3, before, module, "net.0")
    assert watch.records[-1].relative_l2 > 0
    assert (tmp_path / "records.csv").read_text().count("\n") == 4
    # Without it, the same training.
    plain = lightning_module(lightning)
    trainer(3).fit(plain, loader)
    assert all(map(torch.equal, plain.state_dict().values(), module.state_dict().values()))
    # Taken up from the checkpoint, with the epochs of the whole.
    again = LightningMonitor(initial=before)
    checkpoint = first.checkpoint_callback.best_model_path
    trainer(5, again).fit(lightning_module(lightning), loader, ckpt_path=checkpoint)
    assert [record.epoch for record in again.records] == [4, 5]
    assert again.records[0].relative_l2 > watch.records[-1].relative_l2


@pytest.mark.filterwarnings("ignore")  # transformers warns of torch's own deprecations
def test_trainer(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from filterdb.torch import TrainerMonitor

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, images, labels):
            logits = self.net(images)
            return {"loss": functional.cross_entropy(logits, labels), "logits": logits}

    def trainer(epochs, *callbacks):
        settings = transformers.TrainingArguments(
            output_dir=tmp_path / "out", num_train_epochs=epochs, per_device_train_batch_size=4,
            save_strategy="epoch", report_to=[], disable_tqdm=True, use_cpu=True, seed=0,
        )  # fmt: skip
        rows = [{"images": image, "labels": label} for image, label in zip(*data(), strict=True)]
        return transformers.Trainer(
            model=Model(), args=settings, train_dataset=rows, callbacks=list(callbacks)
        )

    watch = TrainerMonitor(every=2, to=tmp_path / "records.csv")
    assert watch.records == []
    watched = trainer(3, watch)
    before = copy.deepcopy(watched.model.state_dict())
    watched.train()
    assert [record.epoch for record in watch.records] == [0, 2, 3]
    assert watch.records[-1] == expected(3, before, watched.model, "net.0")
    assert (tmp_path / "records.csv").read_text().count("\n") == 4
    plain = trainer(3)
    plain.train()
    states = [one.model.state_dict().values() for one in (plain, watched)]
    assert all(map(torch.equal, *states))
    watched.train()  # the same model once more: its epochs go on, from the same start
    assert [record.epoch for record in watch.records] == [0, 2, 3, 4, 6]
    assert (tmp_path / "records.csv").read_text().count("\n") == 6
    again = TrainerMonitor(initial=before)
    trainer(5, again).train(resume_from_checkpoint=True)
    assert [record.epoch for record in again.records] == [4, 5]


@pytest.mark.parametrize(
    ("name", "packages"),
    [
        ("LightningMonitor", ("lightning", "pytorch_lightning")),
        ("TrainerMonitor", ("transformers",)),
    ],
)
def test_missing_packages_are_named(name, packages, monkeypatch):
    for package in (*packages, "lightning.pytorch"):
        monkeypatch.setitem(sys.modules, package, None)
    forget(name, monkeypatch)
    with pytest.raises(MissingExtraError, match=f"pip install {packages[0]}"):
        getattr(own, name)


@pytest.mark.parametrize(
    ("name", "package"), [("LightningMonitor", "lightning"), ("TrainerMonitor", "transformers")]
)
def test_a_bad_path_is_found_before_the_training(name, package, tmp_path):
    pytest.importorskip(package)
    with pytest.raises(ExportError):
        getattr(own, name)(to=tmp_path / "nowhere" / "records.csv")
