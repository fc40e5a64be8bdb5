"""The monitor records what ``check`` and ``diff`` say, and leaves the training as it is."""

from __future__ import annotations

import copy
import csv
import math
import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

import filterdb
from filterdb.checking import MEASURES
from filterdb.errors import ExportError, NoConvolutionError, TransferError
from filterdb.stats.basis import reference_basis
from filterdb.stats.summary import summarise
from filterdb.torch import Monitor
from filterdb.transfer.monitoring.record import COLUMNS, SCALARS
from filterdb.transfer.monitoring.start import null_shift, shifts


class Net(nn.Module):
    """Every kind of convolution, once."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 16, 3, padding=1, groups=2)
        self.depthwise = nn.Conv2d(16, 16, 5, padding=2, groups=16)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2, groups=4)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        for layer in (self.stem, self.grouped, self.depthwise, self.up, self.pointwise):
            x = functional.relu(layer(x))
        return self.head(functional.dropout(x, 0.1, self.training).mean((2, 3)))


def net(seed=0):
    torch.manual_seed(seed)
    return Net()


def pass_over(model, optimiser):
    """A few steps on noise that a seeded generator of their own makes; dropout draws torch's."""
    images = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(7))
    labels = torch.arange(16) % 3
    for _ in range(3):
        optimiser.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimiser.step()


def of_epoch(monitor, epoch):
    return [record for record in monitor.records if record.epoch == epoch]


def perturb(model, size=0.1):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(size * torch.randn_like(parameter))


def test_records_are_those_of_check():
    model = net()
    monitor = Monitor(model)
    perturb(model)
    rows = filterdb.check(model).layers
    records = monitor.step()
    assert len(records) == len(rows) == 5
    for record, row in zip(records, rows, strict=True):
        layer = row.layer
        assert (record.layer, record.index, record.kernel) == (
            layer.name,
            layer.index,
            layer.kernel,
        )
        assert (record.kind, record.n_filters) == (layer.kind, layer.n_filters)
        assert (record.verdict, record.reason) == (row.verdict, row.reason)
        for name in MEASURES:
            assert getattr(record, name) == getattr(row.quality, name), name
    assert [r.kind for r in records] == ["conv", "grouped", "depthwise", "transposed", "conv"]


def test_shift_is_that_of_diff_and_of_the_formula():
    model = net()
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    monitor = Monitor(model)
    perturb(model)
    records = {record.layer: record for record in monitor.step()}
    found = filterdb.diff(before, {k: v.numpy() for k, v in model.state_dict().items()})
    for row in found.layers:
        record = records[row.name]
        if row.shift is not None and record.kind != "transposed":
            assert record.shift == pytest.approx(row.shift, rel=1e-9)
            assert record.relative_l2 == pytest.approx(row.change.relative_l2, rel=1e-12)
    # METHODS 1.3 by hand, for one layer.
    basis = reference_basis((3, 3))
    edges = np.linspace(-basis.reach, basis.reach, 71)
    density = []
    for weights in (before["stem.weight"], model.stem.weight.detach().numpy()):
        filters = weights.reshape(-1, 9).astype(np.float64)
        filters /= np.abs(filters).max(axis=1, keepdims=True)
        bins = [
            np.histogram(column, edges, density=True)[0] for column in basis.coefficients(filters).T
        ]
        eps = np.where(np.array(bins) == 0, np.float64(np.float32(1.1920929e-07)), bins)
        density.append(eps / eps.sum(axis=1, keepdims=True))
    p, q = density
    plain = basis.explained_variance_ratio @ ((p - q) * np.log(p / q)).sum(axis=1)
    assert records["stem"].shift == pytest.approx(plain, rel=1e-6)
    w, w0 = model.stem.weight.detach().double().numpy(), before["stem.weight"].astype(np.float64)
    assert records["stem"].relative_l2 == pytest.approx(np.linalg.norm(w - w0) / np.linalg.norm(w0))
    cosine = (w * w0).sum() / np.linalg.norm(w) / np.linalg.norm(w0)
    assert records["stem"].cosine == pytest.approx(cosine)
    assert records["pointwise"].shift is None  # 1x1 filters have no shape, but they move
    assert records["pointwise"].relative_l2 > 0


def test_the_start_is_epoch_0_and_frozen_layers_stay_there():
    model = net()
    model.stem.requires_grad_(False)
    monitor = Monitor(model)
    assert {(r.epoch, r.relative_l2) for r in monitor.records} == {(0, 0.0)}
    pass_over(model, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1))
    stem, *others = monitor.step()
    assert (stem.shift, stem.relative_l2) == (0.0, 0.0)
    assert stem.cosine == pytest.approx(1.0, abs=1e-15)
    assert all(record.relative_l2 > 0 for record in others)
    with pytest.raises(FrozenInstanceError):
        stem.shift = 1.0


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda model: model])
def test_wrappers_leave_no_trace(wrap):
    model = net()
    monitor = Monitor(wrap(model))
    plain = Monitor(model)
    perturb(model)
    assert monitor.step() == plain.step()


def test_a_training_is_bit_for_bit_the_same_with_it(tmp_path):
    def trained(*, watch):
        model = net()
        parametrize.register_parametrization(model.stem, "weight", Noisy())
        parametrizations.spectral_norm(model.grouped)
        model.train()
        monitor = Monitor(model, to=tmp_path / "r.csv") if watch else None
        optimiser = torch.optim.AdamW(model.parameters(), 0.01)
        gradients = []
        for _ in range(3):
            pass_over(model, optimiser)
            if monitor:
                monitor.step()
            gradients.append([p.grad.clone() for p in model.parameters()])
        modes = [module.training for module in model.modules()]
        return model.state_dict(), gradients, modes, torch.get_rng_state(), torch.get_num_threads()

    plain, watched = trained(watch=False), trained(watch=True)
    assert plain[0].keys() == watched[0].keys()
    assert all(torch.equal(plain[0][name], watched[0][name]) for name in plain[0])
    for left, right in zip(plain[1], watched[1], strict=True):
        assert all(map(torch.equal, left, right))
    assert plain[2] == watched[2]
    assert torch.equal(plain[3], watched[3])
    assert plain[4] == watched[4]


class Noisy(nn.Module):
    """A parametrisation that draws random numbers whenever the weight is computed."""

    def forward(self, weight):
        return weight + 0.01 * torch.randn_like(weight)


def test_numpy_random_numbers_are_left_alone():
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    Monitor(net()).step()
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_shared_weights_count_once():
    model = net()
    tied = nn.ModuleDict({"a": model.stem, "b": model.stem, "c": nn.Conv2d(3, 8, 3)})
    tied["c"].weight = model.stem.weight
    tied["d"] = nn.Conv2d(3, 8, 3)
    assert [record.layer for record in Monitor(tied).records] == ["a", "d"]
    in_parts = parametrizations.weight_norm(nn.Conv2d(3, 8, 3))
    twice = nn.ModuleDict({"a": in_parts, "b": in_parts, "c": nn.Conv2d(3, 8, 3)})
    assert [record.layer for record in Monitor(nn.DataParallel(twice)).records] == ["a", "c"]


def test_channels_last_and_half_precision():
    model = net()
    expected = Monitor(model).records
    assert Monitor(copy.deepcopy(model).to(memory_format=torch.channels_last)).records == expected
    record = Monitor(model.to(torch.bfloat16)).records[0]
    assert record.variance_entropy == pytest.approx(expected[0].variance_entropy, abs=0.01)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu():
    model = net().cuda()
    parametrize.register_parametrization(model.stem, "weight", Noisy())
    before = torch.cuda.get_rng_state()
    monitor = Monitor(model)
    model.cpu()
    assert torch.equal(before, torch.cuda.get_rng_state())
    assert [record.relative_l2 for record in monitor.step()][1:] == [0.0] * 4


def test_a_large_network_in_threads_is_no_other():
    model = nn.Sequential(nn.Conv2d(64, 256, 3), nn.Conv2d(256, 512, 3))
    monitor = Monitor(model)
    perturb(model, 0.01)
    records = monitor.step()
    rows = filterdb.check(model).layers
    assert [r.orthogonality for r in records] == [row.quality.orthogonality for row in rows]
    assert all(record.shift > record.shift_null for record in records)


def test_every_and_the_last_epoch():
    model = net()
    with Monitor(model, every=3) as monitor:
        lengths = [len(monitor.step()) for _ in range(7)]
    assert lengths == [0, 0, 5, 0, 0, 5, 0]
    assert sorted({record.epoch for record in monitor.records}) == [0, 3, 6, 7]
    assert monitor.finish() == ()
    assert repr(monitor) == "<Monitor of a Net: epoch 7, 20 records>"


def test_no_last_epoch_after_an_error():
    monitor = Monitor(net(), every=2)

    def interrupted():
        with monitor:
            monitor.step()
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert {record.epoch for record in monitor.records} == {0}


def test_taken_up_again(tmp_path):
    model = net()
    torch.save(model.state_dict(), tmp_path / "start.pth")
    whole = Monitor(model)
    whole.step()
    perturb(model)
    again = Monitor(model, initial=tmp_path / "start.pth", epoch=1)
    assert again.records == []  # the start is no epoch of this part
    assert again.step() == whole.step()
    assert all(record.relative_l2 > 0 for record in again.records)
    with pytest.raises(filterdb.ReadError, match="nowhere"):
        Monitor(model, initial=tmp_path / "nowhere.pth")


def test_divergence_is_recorded():
    model = net()
    monitor = Monitor(model)
    with torch.no_grad():
        model.stem.weight[0, 0, 0, 0] = math.nan
        model.grouped.weight[0] = math.inf
    stem, grouped, healthy, *_ = monitor.step()
    assert (stem.verdict, grouped.verdict) == ("invalid", "invalid")
    assert "NaN" in stem.reason
    assert {getattr(stem, name) for name in SCALARS if name != "shift_null"} == {None}
    assert healthy.shift == 0.0
    # A network that starts from NaN has nothing to move from.
    late = Monitor(model)
    with torch.no_grad():
        model.stem.weight.zero_()
    assert late.step()[0].relative_l2 is None


def test_layers_that_come_and_go_are_told_once():
    model = net()
    monitor = Monitor(model)
    model.stem = nn.Conv2d(3, 4, 3)
    model.extra = nn.Conv2d(3, 4, 3)
    del model.up
    with (
        pytest.warns(RuntimeWarning, match="'stem', 'extra' were not there"),
        pytest.warns(RuntimeWarning, match="'up' are no longer there"),
    ):
        records = {record.layer: record for record in monitor.step()}
    assert records["extra"].variance_entropy is not None
    assert records["stem"].shift is records["extra"].shift is None
    assert records["grouped"].shift == 0.0
    monitor.step()  # a second warning would be an error


def test_all_layers_gone_ends_no_training():
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    monitor = Monitor(model)
    model[0] = nn.Linear(2, 2)
    with pytest.warns(RuntimeWarning, match="no longer there"):
        assert monitor.step() == ()


@pytest.mark.parametrize("size", [(3, 3), (5, 5)])
@pytest.mark.parametrize("n", [48, 400])
def test_the_null_is_that_of_fresh_filters(n, size):
    rng = np.random.default_rng(n)
    basis = reference_basis(size)

    def fresh():
        return summarise(rng.uniform(-1, 1, (n, 1, *size)).astype("f4"), basis).all()

    drawn = [float(shifts(fresh().coarse(), fresh().coarse(), basis)) for _ in range(100)]
    # Of one layer's histograms: their own scatter is in it, too.
    nulls = [null_shift(fresh(), basis) for _ in range(5)]
    assert np.mean(nulls) == pytest.approx(np.quantile(drawn, 0.95), rel=0.2)


def test_a_fresh_initialisation_is_no_shift_and_a_training_is():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(16, 32, 3))
    monitor = Monitor(model)
    model[0].reset_parameters()
    again = monitor.step()[0]
    assert again.relative_l2 > 1  # all weights are others
    assert again.shift < again.shift_null
    with torch.no_grad():
        model[0].weight.mul_(torch.tensor([[1.0, 1, 1], [0.1, 0.1, 0.1], [1, 1, 1]]))
    squeezed = monitor.step()[0]
    assert squeezed.shift > squeezed.shift_null


def test_csv(tmp_path):
    place = tmp_path / "records.csv"
    model = net()
    monitor = Monitor(model, to=place)
    perturb(model)
    monitor.step()
    rows = list(csv.DictReader(place.read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(monitor.records) == 10
    for row, record in zip(rows, monitor.records, strict=True):
        for name, value in asdict(record).items():
            if name == "kernel":
                assert row[name] == "x".join(map(str, value))
            elif value is None:
                assert row[name] == ""
            else:
                assert type(value)(row[name]) == value, name
    # Taken up again after a kill in the middle of a line.
    whole = place.read_text()
    place.write_text(whole[:-9])
    Monitor(model, epoch=1, to=str(place)).step()
    lines = place.read_text().splitlines()
    assert lines[:10] == whole.splitlines()[:10]
    assert [line.split(",")[0] for line in lines] == ["epoch", *"000001111", *"22222"]


def test_bad_csv_is_found_at_once(tmp_path):
    with pytest.raises(ExportError, match="nowhere"):
        Monitor(net(), to=tmp_path / "nowhere" / "records.csv")
    with pytest.raises(ExportError, match="no records can be written"):
        Monitor(net(), to=[tmp_path])
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(ExportError, match="something else"):
        Monitor(net(), to=other)
    assert other.read_text() == "a,b\n1,2\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_an_endless_file_is_not_read_to_its_end():
    with pytest.raises(ExportError, match="/dev/full"):
        Monitor(net(), to="/dev/full")


def test_a_csv_that_cannot_be_written_for_a_while(tmp_path):
    place = tmp_path / "folder" / "records.csv"
    place.parent.mkdir()
    monitor = Monitor(net(), to=place)
    place.parent.rename(tmp_path / "away")
    with pytest.warns(RuntimeWarning, match="epoch 1 could not be written"):
        monitor.step()
    (tmp_path / "away").rename(place.parent)
    monitor.step()
    epochs = [row["epoch"] for row in csv.DictReader(place.read_text().splitlines())]
    assert epochs == [*"00000", *"11111", *"22222"]


class Writer:
    def __init__(self):
        self.points = []

    def add_scalar(self, tag, value, step):
        self.points.append((tag, value, step))


def test_writers_and_functions():
    writer, epochs = Writer(), []
    monitor = Monitor(net(), to=[writer, epochs.append])
    monitor.step()
    assert epochs == [tuple(of_epoch(monitor, 0)), tuple(of_epoch(monitor, 1))]
    expected = [
        (f"{name}/{record.layer}", getattr(record, name), record.epoch)
        for record in monitor.records
        for name in SCALARS
        if getattr(record, name) is not None
    ]
    assert writer.points == expected
    alone = Writer()
    Monitor(net(), to=alone)
    assert len(alone.points) == len(expected) // 2


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        monitor = Monitor(net(), to=writer)
        monitor.step()
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("variance_entropy/stem")
    assert [event.step for event in events] == [0, 1]
    assert events[0].value == pytest.approx(monitor.records[0].variance_entropy, rel=1e-6)


def test_to_pandas():
    monitor = Monitor(net())
    frame = monitor.to_pandas()
    assert tuple(frame.columns) == COLUMNS
    assert list(frame["layer"]) == ["stem", "grouped", "depthwise", "up", "pointwise"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every is a whole number from 1"),
        ({"every": 1.5}, "every is a whole number"),
        ({"epoch": -1}, "epoch is a whole number from 0"),
        ({"to": 3}, "cannot go to 3"),
        ({"to": [None]}, "cannot go to None"),
    ],
)
def test_arguments_that_make_no_sense(arguments, message):
    with pytest.raises(TransferError, match=message):
        Monitor(net(), **arguments)


def test_nothing_to_watch():
    with pytest.raises(NoConvolutionError, match="fully connected"):
        Monitor(nn.Linear(3, 3))
    with pytest.raises(NoConvolutionError, match="run the module once"):
        Monitor(nn.LazyConv2d(3, 3))
    with pytest.raises(TransferError, match=r"torch.nn.Module, and not a str"):
        Monitor("network.pth")


def test_importing_it_needs_no_torch(tmp_path: Path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('No module named torch')\n")
    code = (
        "import sys, filterdb.torch as own; assert 'torch' not in sys.modules;"
        "assert not {'lightning', 'transformers', 'numpy'} & set(sys.modules); own.Monitor"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          cwd=tmp_path, check=False)  # fmt: skip
    assert "MissingExtraError" in done.stderr
    assert "pip install 'filterdb[torch]'" in done.stderr


def test_public_names():
    import filterdb.torch as own

    assert set(own.__all__) == set(own._HOME) == set(dir(own))
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = own.nothing_here
