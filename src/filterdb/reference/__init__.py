"""The reference population: statistics of public networks that others are measured against.

``README.md`` beside this file lists the networks, with their sources and licences.
"""

from __future__ import annotations

from filterdb.reference.near import NearNetwork
from filterdb.reference.networks import Network
from filterdb.reference.percentile import Percentile
from filterdb.reference.population import ReferencePopulation, reference_population

__all__ = ["NearNetwork", "Network", "Percentile", "ReferencePopulation", "reference_population"]
