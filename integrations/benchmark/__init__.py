"""The audit against its peers, on the same embeddings, labels and folds.

Every peer that needs out-of-sample predictions gets them as its documentation asks, from five-fold cross-validation of
the same L2-regularised softmax head, whose L2 is chosen as carefully as ours (by held-out loss on the audited labels).

cases: what is compared; ours, peers: the methods; folds: the peers' predictions; measure: how they do; table: the
files that say so.
"""

from integrations.benchmark.cases import Case, labelled_samples, noisy_cases, relabelled_cases, source_cases
from integrations.benchmark.measure import NO_PEERS, OURS, Measurement, run_cases
from integrations.benchmark.ours import averaged_influence, split_of
from integrations.benchmark.table import mean_by_case, save_measurements

__all__ = [
    "NO_PEERS",
    "OURS",
    "Case",
    "Measurement",
    "averaged_influence",
    "labelled_samples",
    "mean_by_case",
    "noisy_cases",
    "relabelled_cases",
    "run_cases",
    "save_measurements",
    "source_cases",
    "split_of",
]
