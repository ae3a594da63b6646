"""Many networks trained as one: of one architecture, or of one form and several sizes."""

from lamp.replicas.population import Population, population, stack

__all__ = ["Population", "population", "stack"]
