"""Many networks trained as one: of one architecture, or of one form and several sizes."""

from lamp.replicas.placing import listed_networks
from lamp.replicas.population import Population, population, stack
from lamp.replicas.shared_attributes import is_copyable, shared_attributes
from lamp.replicas.sizes import architecture, form

__all__ = [
    "Population",
    "architecture",
    "form",
    "is_copyable",
    "listed_networks",
    "population",
    "shared_attributes",
    "stack",
]
