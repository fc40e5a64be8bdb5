"""The phenotype of every layer of a population: a pass over its weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from filterdb.population.preset import LAYER, Scanning, scan_layers
from filterdb.scan.jobs import DensityJob
from filterdb.scan.parts import split
from filterdb.stats.phenotype import Phenotype, phenotype

if TYPE_CHECKING:
    from filterdb.population.selection import Selection

BINS = 128
"""Along either axis: enough for the rules, and a sixteenth of what is drawn."""


@dataclass(frozen=True, slots=True)
class LayerPhenotype:
    """A layer and its phenotype.

    Attributes
    ----------
    model, layer
        Their names.
    model_id, layer_index
        Their numbers.
    phenotype
        Name, measures and reason.
    """

    model: str
    layer: str
    model_id: int
    layer_index: int
    phenotype: Phenotype

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON has it."""
        found = self.phenotype
        measures = asdict(found.measures) if found.measures is not None else {}
        return {
            "model": self.model,
            "layer": self.layer,
            "layer_index": self.layer_index,
            "phenotype": found.name,
            "filters": found.n,
            "reason": found.reason,
            **measures,
        }


def phenotypes(population: Selection, scanning: Scanning) -> list[LayerPhenotype]:
    """Tell the phenotype of every layer; see :mod:`filterdb.stats.phenotype` for the rules.

    Raises
    ------
    QueryError, StoreError
        Nothing is left; a payload is missing or damaged.
    """
    table = population.table(columns=(*LAYER, "model", "name"))
    names = {key: values[-2:] for key, values in zip(table.keys, table.values, strict=True)}
    basis = table.basis
    zero = -basis.components[:2] @ basis.mean
    job = DensityJob(basis, bins=BINS, drop_sparse=population.drop_sparse)
    parts = split(population.folder, scan_layers(table), part_bytes=1)  # a layer each
    found = []
    for scanned in scanning.scan(parts, job):
        (layer,) = scanned.layers
        kind = phenotype(scanned.value, zero=(float(zero[0]), float(zero[1])))
        key = (layer.model_id, layer.layer_index)
        model, name = map(str, names[key])
        found.append(LayerPhenotype(model, name, *key, kind))
    return found
