"""The audit against its peers, on the same embeddings, labels and folds.

Every peer that needs out-of-sample predictions gets them as its documentation asks, from five-fold cross-validation of
the same L2-regularised softmax head, whose L2 is chosen as carefully as ours (by held-out loss on the audited labels).

cases: what is compared; ours: the audit; peers: the other methods, a file each; folds: their predictions; measure: how
they do; table: the files that say so. claims: whether what the audit states is true, before and after decisions;
claims_table: in Markdown.
"""

from integrations.benchmark.cases import (
    Case,
    embedded_source,
    labelled_samples,
    noisy_cases,
    relabelled_cases,
    source_cases,
)
from integrations.benchmark.claims import (
    PEOPLE,
    Claims,
    GroupedCase,
    Reviewed,
    claim_cases,
    measure_claims,
    small_cases,
)
from integrations.benchmark.claims_table import claims_markdown, groups_table, save_claims
from integrations.benchmark.measure import NO_PEERS, OURS, Measurement, run_cases
from integrations.benchmark.ours import averaged_influence, split_of
from integrations.benchmark.table import mean_by_case, origin_of, save_measurements

__all__ = [
    "NO_PEERS",
    "OURS",
    "PEOPLE",
    "Case",
    "Claims",
    "GroupedCase",
    "Measurement",
    "Reviewed",
    "averaged_influence",
    "claim_cases",
    "claims_markdown",
    "embedded_source",
    "groups_table",
    "labelled_samples",
    "mean_by_case",
    "measure_claims",
    "noisy_cases",
    "origin_of",
    "relabelled_cases",
    "run_cases",
    "save_claims",
    "save_measurements",
    "small_cases",
    "source_cases",
    "split_of",
]
