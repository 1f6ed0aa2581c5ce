"""The area under the margin (Pleiss et al., NeurIPS 2020, arXiv 2001.10528), in-sample, of a linear head.

The margin of a sample is the logit of its label, minus the largest logit of another class. Its mean over the epochs of
training by SGD is low for a label that the others contradict, because their gradients work against it. The paper trains
a whole network; here the head on frozen embeddings is trained, as for all others. The paper's threshold needs samples
of an extra class, which would change the data, so nothing is flagged.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from audit.head.standardise import Standardiser
from integrations.benchmark.cases import Case, Verdict

EPOCHS, BATCH = 20, 64
LEARNING_RATE, MOMENTUM, DECAY = 0.01, 0.9, 1e-4


def margins(logits: Tensor, given: Tensor) -> Tensor:
    """(n,): the logit of the given class, minus the largest other one; logits are (n, C)."""
    own = logits.gather(1, given[:, None])[:, 0]
    return own - logits.scatter(1, given[:, None], -torch.inf).amax(1)


def area_under_margin(x: Tensor, given: Tensor, classes: int, seed: int = 0) -> np.ndarray:
    """(n,): the mean margin over all epochs; the margin of a sample is taken when its batch is trained on."""
    z = Standardiser.fit(x)(x).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = torch.nn.Linear(z.shape[1], classes)
        torch.nn.init.zeros_(head.weight)  # a linear head needs no random start, which would be part of the mean
        optimiser = torch.optim.SGD(head.parameters(), LEARNING_RATE, MOMENTUM, weight_decay=DECAY)
        total = torch.zeros(len(z))
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(z)).split(BATCH):
                logits = head(z[rows])
                total[rows] += margins(logits.detach(), given[rows])
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(logits, given[rows]).backward()
                optimiser.step()
    return (total / EPOCHS).numpy()


def mean_margin(case: Case) -> Verdict:
    """By the area under the margin."""
    x, given = case.tensors()
    return Verdict(-area_under_margin(x, given, case.classes, case.seed))
