"""The settings of the search for neighbours: how many vote, and among how many samples they are searched."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class NeighbourSettings:
    """Settings of the search for a sample's nearest neighbours."""

    # Number of neighbours that vote.
    count: int = 20
    # Neighbours are searched among some of the samples (the references), so that the cost grows with n and not with n².
    # There are this many references per class (five times as many as vote), within the limits of the next two numbers.
    references_per_class: int = 100
    fewest_references: int = 10_000
    most_references: int = 20_000
    # Number of principal directions of the embeddings in which similarity is computed; at least one per class. Measured
    # on the development data: average precision stays within .001 of that with all 512 or 1280 dimensions.
    directions: int = 128
    # Least similarity of a vote: a neighbour in the opposite direction has almost no vote, and not a negative one.
    least_similarity: float = 1e-6
