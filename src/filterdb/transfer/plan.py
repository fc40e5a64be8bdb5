"""What is said of an experiment in a TOML file: read, checked, filled up, written back. No torch.

::

    experiment = "layers"
    seeds = [0, 1, 2]
    [network]            # name, and the network's own arguments
    [data]               # what every run is trained on, unless the experiment says otherwise
    [budget]             # the same for every arm
    [layers]             # what only this experiment has
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_type_hints

from filterdb.errors import TransferError
from filterdb.transfer.comparing import REPEAT, Table
from filterdb.transfer.networks.code import code_of
from filterdb.transfer.networks.registry import checked_arguments
from filterdb.transfer.options import (
    HOW,
    OPTIONS,
    Architectures,
    Donors,
    Keys,
    Layers,
    Matrix,
    Removal,
    Size,
)
from filterdb.transfer.results import Comparison, Result
from filterdb.transfer.run import Budget, Data, Run, Start
from filterdb.transfer.sentences import sentences

FEWEST_SEEDS = 3
"""Fewer leave no interval worth the name."""
AGAIN = 10_000
"""Added to the seed of a run that takes filters of another: with the same random weights a network
would get back the very surroundings in which its own filters have grown. Comparisons with training
in full are paired by their data alone therefore, which makes their intervals wider, not wrong."""

NETWORK: Mapping[str, Any] = {"name": "convmixer", "width": 32, "depth": 4}
DATA: Mapping[str, Any] = {"spec": "digits", "size": 16, "channels": 1}
BUDGET: Mapping[str, Any] = {"epochs": 10, "batch": 64}
OTHERWISE: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "keys": {"network": {**NETWORK, "kernel": 7}},
    "removal": {"network": {**NETWORK, "depth": 2, "kernel": 7}},
    "size": {"budget": {"batch": BUDGET["batch"], "steps": 200}},
}
"""The tables that a plan leaves out: a few minutes on two cores. Whoever names a network or a
budget gets the rest of it from there, not from here."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An experiment: everything that decides its runs.

    Attributes
    ----------
    experiment
        One of :data:`OPTIONS`.
    network, arguments
        As :class:`~filterdb.transfer.run.Run` has them.
    data, budget
        Of every run, unless the experiment says otherwise.
    options
        What only this experiment has.
    seeds
        One a repeat.
    """

    experiment: str
    network: str
    arguments: Mapping[str, Any]
    data: Data
    budget: Budget
    options: Any
    seeds: tuple[int, ...] = (0, 1, 2)

    def run(
        self,
        arm: str,
        repeat: int,
        *,
        starts: Iterable[Start] = (),
        data: Data | None = None,
        network: tuple[str, Mapping[str, Any]] | None = None,
        labels: Mapping[str, Any],
    ) -> Run:
        """One run, with what an arm changes; it has other random weights than its sources.

        So a network trained in full shares the data of its repeat with the arms that have
        starts, and no random numbers: neither weights nor the order of images.
        """
        starts = tuple(starts)
        name, arguments = network or (self.network, self.arguments)
        return Run(
            network=name, arguments=arguments, data=data or self.data, budget=self.budget,
            starts=starts, seed=repeat + AGAIN if starts else repeat, arm=arm,
            labels={**labels, REPEAT: repeat}, experiment=self.experiment, code=code_of(name),
        )  # fmt: skip

    def result(
        self, table: Table, comparisons: Iterable[Comparison], *, notes: Iterable[str] = ()
    ) -> Result:
        """What the runs came to, with the budget that all of them had."""
        compared = tuple(comparisons)
        return Result(
            experiment=self.experiment,
            settings=self.to_dict(),
            budget=f"Every arm, the sources too: {self.budget.sentence()}.",
            table=table.rows,
            comparisons=compared,
            sentences=(*sentences(table, compared), *notes),
            coverage=table.coverage,
        )

    def to_dict(self) -> dict[str, Any]:
        """The effective plan, every default filled in, as :func:`plan_of` reads it."""
        told: dict[str, Any] = {
            "experiment": self.experiment,
            "seeds": self.seeds,
            "network": {"name": self.network, **self.arguments},
            "data": asdict(self.data),
            "budget": asdict(self.budget),
            self.experiment: asdict(self.options),
        }
        if self.budget.steps is not None:
            del told["budget"]["epochs"]
        clean: dict[str, Any] = json.loads(json.dumps(_without_none(told)))
        return clean

    def to_toml(self) -> str:
        """The same as a file."""
        told = self.to_dict()
        lines = [f"{key} = {_toml(v)}" for key, v in told.items() if not isinstance(v, dict)]
        for name, table in told.items():
            if isinstance(table, dict):
                lines += ["", f"[{name}]", *(f"{_key(k)} = {_toml(v)}" for k, v in table.items())]
        return "\n".join(lines) + "\n"


def read_plan(path: str | os.PathLike[str]) -> Plan:
    """Read a plan.

    Raises
    ------
    TransferError
        The file cannot be read, or says something that cannot be done; it names the key.
    """
    path = Path(path)
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path}: the plan cannot be read ({error.strerror})."
        raise TransferError(msg) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{path}: this is no TOML ({error})."
        raise TransferError(msg) from error
    return plan_of(told, source=str(path))


def plan_of(told: Mapping[str, Any], *, source: str = "The plan") -> Plan:
    """Check a plan that is already in memory, and fill it up with defaults.

    Parameters
    ----------
    told
        As TOML has it.
    source
        What messages call it.

    Raises
    ------
    TransferError
        As of :func:`read_plan`.
    """
    try:
        return _plan_of(told)
    except TransferError as error:
        msg = f"{source}: {error}"
        raise TransferError(msg) from error


def _plan_of(told: Mapping[str, Any]) -> Plan:
    if "experiment" not in told:
        msg = f"experiment is missing. Give one of {', '.join(OPTIONS)}."
        raise TransferError(msg)
    name = told["experiment"]
    _known(str(name), OPTIONS, what="experiment")
    _all_known(told, ("experiment", "seeds", "network", "data", "budget", name), where="")
    otherwise = {"network": NETWORK, "data": DATA, "budget": BUDGET, **OTHERWISE.get(name, {})}
    network = dict(_table(told.get("network", otherwise["network"]), where="network"))
    model = _value(network.pop("name", NETWORK["name"]), str, where="network.name")
    budget = dict(_table(told.get("budget", otherwise["budget"]), where="budget"))
    if name == "size" and "epochs" in budget and "steps" in budget:
        msg = "budget.epochs has no effect in size, which counts steps: leave it out."
        raise TransferError(msg)
    if "epochs" not in budget or "steps" in budget:  # beside steps it decides nothing
        budget["epochs"] = BUDGET["epochs"]
    plan = Plan(
        experiment=name,
        network=model,
        arguments=_at("network", lambda: checked_arguments(model, network)),
        data=filled(Data, {**DATA, **_table(told.get("data", {}), where="data")}, where="data"),
        budget=filled(Budget, budget, where="budget"),
        options=filled(OPTIONS[name], told.get(name, {}), where=name),
        seeds=_seeds(told.get("seeds", [0, 1, 2])),
    )
    return _checked(plan)


def _checked(plan: Plan) -> Plan:
    """What two tables say together."""
    options = plan.options
    if isinstance(options, Matrix):
        if len(options.sets) < 2:
            msg = "matrix.sets has fewer than two sets: nothing can be transferred."
            raise TransferError(msg)
        names: dict[Data, str] = {}
        for name, told in options.sets.items():
            data = data_with(plan.data, told, where=f"matrix.sets.{name}")
            same = names.setdefault(replace(data, seed=0), name)
            if same != name:
                msg = (
                    f"matrix.sets.{name} and matrix.sets.{same} are the same data, but perhaps for "
                    "their seed: images that one is trained on are what the other is tested on."
                )
                raise TransferError(msg)
    if isinstance(options, Size):
        data_with(plan.data, options.source, where="size.source")
        if not options.shares or not all(0 < share <= 1 for share in options.shares):
            msg = f"size.shares = {list(options.shares)}: shares lie above 0 and up to 1."
            raise TransferError(msg)
        if plan.budget.steps is None:
            msg = (
                "budget.steps is missing: with epochs alone a source that has fewer images would "
                "be trained for fewer steps. Give steps, such as 400."
            )
            raise TransferError(msg)
    if isinstance(options, Architectures | Donors) and not options.how:
        msg = f"{plan.experiment}.how is a list of one or both of {', '.join(HOW)}."
        raise TransferError(msg)
    if isinstance(options, Removal) and not (options.down_to >= 1 and 0 < options.held_out < 1):
        msg = "removal.down_to is 1 or more, and removal.held_out a share between 0 and 1."
        raise TransferError(msg)
    if isinstance(options, Keys) and (not options.sets or min(options.counts, default=0) < 1):
        msg = "keys.sets and keys.counts are lists of one or more; a count is 1 or more."
        raise TransferError(msg)
    if isinstance(options, Layers):
        if not options.parts or min(options.cuts, default=1) < 1:
            msg = "layers.parts is a list of one or more; each of layers.cuts is 1 or more."
            raise TransferError(msg)
        _at("layers", lambda: checked_arguments(options.contrast, options.contrast_arguments))
    return plan


def data_with(data: Data, told: object, *, where: str) -> Data:
    """The data of a plan with what one of its sets says otherwise: a table, or the path alone."""
    told = {"spec": told} if isinstance(told, str) else _table(told, where=where)
    merged: Data = filled(Data, {**_without_none(asdict(data)), **told}, where=where)
    return merged


def filled(kind: type[Any], told: object, *, where: str) -> Any:
    """An instance of a dataclass from a table of TOML.

    Raises
    ------
    TransferError
        A key is unknown (the nearest and all are shown), missing, or its value is of another type.
    """
    table = _table(told, where=where)
    known = {one.name: one for one in fields(kind)}
    _all_known(table, known, where=where)
    hints = get_type_hints(kind)
    values = {}
    for name, value in table.items():
        values[name] = _value(value, hints[name], where=f"{where}.{name}")
        for one in values[name] if isinstance(values[name], tuple) else (values[name],):
            if choices := known[name].metadata.get("choices"):
                _known(str(one), choices, what=f"{where}.{name}")
    for name, one in known.items():
        if name not in values and one.default is MISSING and one.default_factory is MISSING:
            msg = f"{where}.{name} is missing."
            raise TransferError(msg)
    return _at(where, lambda: kind(**values))


def _at(where: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except TransferError as error:
        msg = f"[{where}] {error}"
        raise TransferError(msg) from error


def _all_known(given: Iterable[str], known: Iterable[str], *, where: str) -> None:
    for key in given:
        _known(key, known, what=f"key of [{where}]" if where else "key of a plan")


def _known(name: str, known: Iterable[str], *, what: str) -> None:
    names = list(known)
    if name not in names:
        close = get_close_matches(name, names, n=1)
        hint = f" (do you mean {close[0]!r}?)" if close else ""
        msg = f"{name!r} is no {what}{hint}. There are {', '.join(names)}."
        raise TransferError(msg)


def _table(told: object, *, where: str) -> Mapping[str, Any]:
    if not isinstance(told, Mapping):
        msg = f"{where} = {told!r} is no table of keys and values."
        raise TransferError(msg)
    return told


def _value(told: object, kind: Any, *, where: str) -> Any:
    """A value of TOML as a field has it; whole numbers do for others, truth values do not."""
    options = [one for one in get_args(kind) if isinstance(one, type) or get_args(one)]
    if type(None) in options:
        (kind,) = (one for one in options if one is not type(None))
    elif get_args(kind) and not options:  # a Literal: the dataclass shows the list itself
        kind = str
    if getattr(kind, "__origin__", None) is tuple:
        if isinstance(told, list | tuple):
            inner = get_args(kind)[0]
            return tuple(_value(one, inner, where=where) for one in told)
    elif getattr(kind, "__origin__", kind) is not kind:
        return dict(_table(told, where=where))
    elif isinstance(told, bool) == (kind is bool) and isinstance(
        told, (int, float) if kind is float else kind
    ):
        return kind(told)
    words = {int: "whole number", float: "number", str: "string", bool: "truth value"}
    msg = f"{where} = {told!r} is no {words.get(kind, 'list')}."
    raise TransferError(msg)


def _seeds(told: object) -> tuple[int, ...]:
    seeds: tuple[int, ...] = _value(told, tuple[int, ...], where="seeds")
    if len(set(seeds)) < FEWEST_SEEDS or len(set(seeds)) < len(seeds):
        msg = f"seeds = {told!r}: give {FEWEST_SEEDS} different ones or more, for an interval."
        raise TransferError(msg)
    if not all(0 <= seed < AGAIN for seed in seeds):
        msg = f"seeds = {told!r}: each lies in 0..{AGAIN - 1}."
        raise TransferError(msg)
    return seeds


def _without_none(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in told.items()
        if value is not None
    }


def _toml(value: Any) -> str:
    """A value of JSON in TOML, on one line."""
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(key)} = {_toml(one)}" for key, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else json.dumps(name, ensure_ascii=False)
