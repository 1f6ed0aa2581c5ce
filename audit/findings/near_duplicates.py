"""Near-duplicates: copies of a picture that were cropped, resized, mirrored, recompressed or made brighter.

Candidates are nearest neighbours of embeddings, and pictures with nearly the same perceptual hash. A candidate pair is
confirmed by aligning the pictures (`audit.findings.alignment`). How well unrelated pictures of a dataset agree differs:
two photographs hardly ever do, two handwritten digits often. So the threshold comes from neighbours that are too far
down the list to be copies, and it is lower for pictures with little detail (`audit.findings.detail`). Confirmed pairs
are joined to groups.

Without pictures, only rows that are nearly the same count as copies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from audit.compute.matrix import Rows
from audit.data.exact_copies import Copies
from audit.findings.alignment import disagreement
from audit.findings.comparison import neighbours
from audit.findings.contract import Audited, EstimatedPrecision, Finding
from audit.findings.detail import detail
from audit.findings.kinds import NEAR_DUPLICATE_LABELS, NEAR_DUPLICATES, NEAR_LEAK
from audit.findings.look import leaked_splits
from audit.findings.neighbours import Neighbours, same_hash


@dataclass(frozen=True, kw_only=True)
class CopySettings:
    """When two pictures count as copies."""

    # Of the distance to unrelated neighbours: as far apart as the embeddings of copies may be.
    near: float = 1.0
    # Share of the unrelated pairs that agree better than chance is taken to.
    by_chance: float = 0.05
    # How much less copies disagree than that.
    below_chance: float = 0.4
    # Disagreement of copies: more than that no cropping or compression causes.
    most: float = 0.06
    # Of that limit: pictures that disagree less are copies, whatever their embeddings say.
    sure: float = 0.3
    # Pairs of unrelated samples from which chance is estimated.
    most_unrelated: int = 1000
    # Of the distance to unrelated neighbours: rows without pictures that are nearer are copies.
    same_row: float = 0.02
    # Labels that a sentence names.
    named: int = 5


SETTINGS = CopySettings()


@dataclass(frozen=True)
class Groups:
    """Groups of copies.

    Attributes:
        members: positions of the samples of each group.
        scores: how sure each group is: of its least sure link, 0 to 1.
    """

    members: list[np.ndarray]
    scores: list[float]


def groups_of(audited: Audited) -> Groups:
    """Groups of samples that are copies of each other, identical ones too."""
    n = len(audited.ids)
    identical = Copies.of(audited.keys).groups()
    pairs = np.concatenate([np.stack([group[:-1], group[1:]], 1) for group in identical] or [_no_pairs()])
    scores = np.ones(len(pairs))
    if audited.x is not None and n > 2:
        near, sure = _near_pairs(audited)
        pairs, scores = np.concatenate([pairs, near]), np.concatenate([scores, sure])
    return _joined(pairs, scores, n)


def _near_pairs(audited: Audited) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (p, 2) of near-duplicates, and how sure each is (p,)."""
    found = neighbours(audited)
    usual = found.distances[:, -1]
    ratio = found.distances / np.maximum(usual[:, None], 1e-6)
    if audited.traits is None:
        rows, columns = np.nonzero((ratio <= SETTINGS.same_row) & (usual[:, None] > 1e-6))
        return np.stack([rows, found.places[rows, columns]], 1), 1 - ratio[rows, columns]
    rows, columns = np.nonzero(ratio[:, :-1] <= SETTINGS.near)  # the last one tells how near unrelated samples are
    pairs = np.stack([rows, found.places[rows, columns]], 1)
    pairs = np.unique(np.sort(np.concatenate([pairs, same_hash(audited.traits.grey)]), axis=1), axis=0)
    if not len(pairs):
        return _no_pairs(), np.empty(0)
    far = _distances(audited.x, pairs) / np.maximum(usual[pairs].min(1), 1e-6)
    most = _threshold(audited, found) * detail(audited.traits.grey)[pairs].min(1)
    looked_for = most * np.clip(1 - far / SETTINGS.near, SETTINGS.sure, 1)
    apart = disagreement(audited.traits.grey, pairs, looked_for) / np.maximum(most, 1e-6)
    doubt = np.where(apart <= SETTINGS.sure, apart, apart + far / SETTINGS.near)
    kept = doubt <= 1
    alike = (audited.keys[pairs[:, 0]] == audited.keys[pairs[:, 1]]).all(1)
    if (precision := precision_by_margin(doubt[~alike])) is not None:
        audited.precisions.update(dict.fromkeys((NEAR_DUPLICATES, NEAR_DUPLICATE_LABELS, NEAR_LEAK), precision))
    return pairs[kept], 1 - doubt[kept] / 2


def precision_by_margin(doubt: np.ndarray) -> EstimatedPrecision | None:
    """How many of the pairs with a doubt of at most 1 are copies; None where there are none.

    Pairs with a doubt of 2 to 8 are taken to be no copies. How their number falls from the upper half of that range to
    the lower one says how many there are below 1, if it goes on falling like that (a power of the doubt). In truth it
    falls faster, so the estimate is careful.

    Args:
        doubt: (p,) of all candidate pairs; 1 is the limit.
    """
    from scipy.stats import poisson

    found = int((doubt <= 1).sum())
    near, far = (int(((doubt > low) & (doubt <= 2 * low)).sum()) for low in (2, 4))
    if not found:
        return None
    growth = max(2.0, (far + 1) / (near + 1))  # of the number, where the doubt doubles
    wrong = near / (growth**2 - growth)
    low = 1 - float(poisson.ppf(0.95, wrong)) / found if wrong else 1.0
    basis = f"Estimated for pairs from the margin to {near + far:,} candidate pairs that are no copies."
    return EstimatedPrecision(low=max(0.0, low), high=1.0, basis=basis)


def _distances(x: Rows, pairs: np.ndarray, block: int = 4096) -> np.ndarray:
    """The cosine distances of pairs (p, 2) of embeddings."""
    found: list[np.ndarray] = [np.empty(0)]
    for start in range(0, len(pairs), block):
        one, other = (x[torch.from_numpy(pairs[start : start + block, side])].float() for side in (0, 1))
        found.append(1 - torch.nn.functional.cosine_similarity(one, other).cpu().numpy())
    return np.concatenate(found)


def _threshold(audited: Audited, found: Neighbours) -> float:
    """The disagreement up to which a pair counts as copies, from how well unrelated pictures agree.

    Unrelated are a sample and the farthest of its neighbours that were searched, whatever their labels: a dataset may
    have many copies with different labels, but few pictures have ten copies.
    """
    assert audited.traits is not None
    random = np.random.default_rng(audited.seed)
    rows = random.choice(len(found.places), min(len(found.places), SETTINGS.most_unrelated), replace=False)
    unrelated = np.stack([rows, found.places[rows, -1]], 1)
    of_interest = np.full(len(unrelated), SETTINGS.most)  # far beyond, a disagreement makes no difference
    apart = disagreement(audited.traits.grey, unrelated, of_interest)
    return float(min(SETTINGS.most, SETTINGS.below_chance * np.quantile(apart, SETTINGS.by_chance)) + 1e-6)


def _joined(pairs: np.ndarray, scores: np.ndarray, n: int) -> Groups:
    """The connected groups of pairs; the least sure link of each."""
    if not len(pairs):
        return Groups([], [])
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, group = connected_components(links, directed=False)
    rows = np.unique(pairs)
    rows = rows[np.argsort(group[rows], kind="stable")]
    members = np.split(rows, np.flatnonzero(np.diff(group[rows])) + 1)
    least = np.ones(n)
    np.minimum.at(least, group[pairs[:, 0]], scores)
    return Groups(members, [float(np.clip(least[group[some[0]]], 0, 1)) for some in members])


def find_duplicates(audited: Audited) -> Iterator[Finding]:
    """Groups of copies with one label, and groups with several that are not all identical."""
    groups = audited.once("groups", groups_of)
    content = Copies.of(audited.keys).content
    suspicion = audited.suspicion
    for members, score in zip(groups.members, groups.scores, strict=True):
        counts = Counter(audited.labels[members].tolist())
        alike = len(set(content[members].tolist())) == 1
        if len(counts) == 1:
            what = "identical" if alike else "nearly the same"
            yield Finding(
                kind=NEAR_DUPLICATES,
                evidence=f"{len(members)} {audited.noun} labelled {next(iter(counts))!r} are {what}",
                score=score,
                samples=tuple(members.tolist()),
                worth=f"removing {len(members) - 1} of them loses next to nothing",
            )
        elif not alike:  # identical ones are found without this check
            shown = ", ".join(f"{label!r} ({count})" for label, count in counts.most_common(SETTINGS.named))
            order = members if suspicion is None else members[np.argsort(-suspicion[members], kind="stable")]
            wrong = len(members) - counts.most_common(1)[0][1]
            labels = "1 label of these is" if wrong == 1 else f"{wrong} labels of these are"
            yield Finding(
                kind=NEAR_DUPLICATE_LABELS,
                evidence=f"{len(members)} {audited.noun} that are nearly the same are labelled {shown}",
                score=score,
                samples=tuple(order.tolist()),
                worth=f"at least {labels} wrong",
            )


def find_leaks(audited: Audited) -> Iterator[Finding]:
    """Groups of copies in the training split and in a held-out one; measures what they do to the head's score.

    The splits are the source's own. Where the audit drew them, copies in several of them are no fault of the dataset,
    and only their effect on the head's score is measured.
    """
    groups = audited.once("groups", groups_of)
    audited.leaks[:] = leaked_splits(_leaked(groups, audited.split), audited.split, audited.is_right)
    split = audited.own_split
    if split is None or "train" not in set(split):
        return
    content = Copies.of(audited.keys).content
    shown_already = np.array_equal(split, audited.split)  # identical ones are found without this check
    sizes = Counter(split.tolist())
    leaked = split[_leaked(groups, split)]
    for members, score in zip(groups.members, groups.scores, strict=True):
        counts = Counter(split[members].tolist())
        held_out = [name for name in ("validation", "test") if counts[name]]
        if not (counts["train"] and held_out):
            continue
        if shown_already and len(set(content[members].tolist())) == 1:
            continue
        shares = " and ".join(
            f"{100 * (leaked == name).sum() / sizes[name]:.1f} % of {name}" for name in held_out if sizes[name]
        )
        places = " and ".join(f"{counts[name]} in {name}" for name in held_out)
        yield Finding(
            kind=NEAR_LEAK,
            evidence=f"{counts['train']} of {len(members)} copies of a picture are in train, {places}",
            score=score,
            samples=tuple(sorted(members.tolist(), key=lambda row: split[row] == "train")),
            worth=f"leaks make up {shares}{_effect(audited)}",
        )


def _effect(audited: Audited) -> str:
    """What the head scores with and without leaked samples, in the words of a sentence."""
    parts = [
        f"on {one.split} the head predicts {100 * one.accuracy:.1f} % as labelled, without leaked samples "
        f"{100 * one.accuracy_without:.1f} %"
        for one in audited.leaks
        if one.accuracy_without is not None
    ]
    return "; " + "; ".join(parts) if parts else ""


def _leaked(groups: Groups, split: np.ndarray) -> np.ndarray:
    """bool (n,), held-out samples with a copy in the training split."""
    leaked = np.zeros(len(split), dtype=bool)
    for members in groups.members:
        if (split[members] == "train").any():
            leaked[members[np.isin(split[members], ["validation", "test"])]] = True
    return leaked


def _no_pairs() -> np.ndarray:
    return np.empty((0, 2), dtype=np.int64)
