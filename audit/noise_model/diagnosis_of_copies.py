"""How the noise model treats exact copies (`audit.data.exact_copies`): it counts them as one sample.

Copies with the same label hide a mistake: if one copy is left out, the head and the neighbours still learn the label
from the other. So the noise model sees each content once, with its most frequent label. Its result for the content
applies to all copies.

Copies with different labels prove a mistake, because at most one of the labels is right. The model judges the picture
with its most frequent label. Each other label is then one more noisy observation of the same true class: P(true = k |
x, y_1, y_2, ...) ∝ P(true = k | x) T_k,y_1 T_k,y_2 ... over the different labels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from audit.compute.matrix import hold, select_rows
from audit.compute.scratch import ScratchRows
from audit.data.exact_copies import Copies
from audit.head.fit import one_hot
from audit.noise_model.diagnosis import Diagnosis
from audit.noise_model.given_labels import FLOOR
from audit.noise_model.votes import NeighbourVotes
from audit.summary.counts import CopiesFound


def diagnosis_of_copies(
    copies: Copies, diagnosis: Diagnosis, votes: NeighbourVotes, labels: Tensor, trusted: np.ndarray | None
) -> Diagnosis:
    """The diagnosis of all samples, computed from the diagnosis of one sample per content.

    Args:
        copies: which of the n samples have the same of u contents.
        diagnosis: the diagnosis of the u representatives.
        votes: the neighbour votes of the representatives.
        labels: (n,) class numbers.
        trusted: bool (n,), labels that are known to be right; None if there are none.
    """
    assert diagnosis.self_influence is not None  # samples have the same content by their embeddings
    content = torch.from_numpy(copies.content).to(labels.device)
    given = labels.cpu().numpy()
    counted = labels[torch.from_numpy(copies.representatives(given, trusted)).to(labels.device)]
    prior, posterior, probabilities, loo_probabilities = (
        hold(select_rows(of_content, content))
        for of_content in (
            diagnosis.prior,
            diagnosis.posterior,
            diagnosis.probabilities,
            diagnosis.loo_probabilities,
        )
    )
    assert isinstance(posterior, Tensor | ScratchRows)  # both can be written to, and are copies
    for group in copies.conflicting(given):
        rows = torch.from_numpy(group).to(labels.device)
        others = [label for label in np.unique(given[group]).tolist() if label != int(counted[content[rows[0]]])]
        joint = posterior[rows[:1]] * diagnosis.transition[:, others].clamp_min(FLOOR).prod(1)
        posterior[rows] = (joint / joint.sum().clamp_min(FLOOR)).expand(len(rows), -1)
    if trusted is not None:  # if one content has two trusted labels, both count as right
        known = torch.from_numpy(np.flatnonzero(trusted)).to(labels.device)
        posterior[known] = one_hot(labels[known], posterior.shape[1], posterior.dtype)
    return replace(
        diagnosis,
        prior=prior,
        posterior=posterior,
        probabilities=probabilities,
        loo_probabilities=loo_probabilities,
        self_influence=diagnosis.self_influence[content],
        neighbour_share=votes.share_of(counted, content, labels),
    )


def contradicted(copies: Copies, labels: np.ndarray, suspicion: np.ndarray) -> np.ndarray:
    """Bool (n,): labels that copies contradict. These are all but the least suspicious label of each content.

    Args:
        copies: of the n samples.
        labels: (n,) class numbers.
        suspicion: (n,) of the labels.
    """
    found = np.zeros(len(labels), dtype=bool)
    for group in copies.conflicting(labels):
        found[group] = suspicion[group] > suspicion[group].min()
        if not found[group].any():  # equal suspicions: nothing shows which label is right
            found[group] = True
    return found


def describe_copies(copies: Copies, labels: np.ndarray, split: np.ndarray) -> CopiesFound:
    """The summary's entry for the copies.

    Args:
        copies: of the n samples.
        labels: (n,) class numbers.
        split: (n,) 'train', 'validation' or 'test'.
    """
    repeated = np.bincount(copies.content) > 1
    trained_on = np.zeros(len(copies.first), dtype=bool)
    trained_on[copies.content[split == "train"]] = True
    return CopiesFound(
        contents=int(repeated.sum()),
        samples=int(repeated[copies.content].sum()),
        proven_mistakes=copies.proven_mistakes(labels),
        leaked=int((trained_on[copies.content] & (split != "train")).sum()),
    )
