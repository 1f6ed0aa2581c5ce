"""What the head would predict for a sample had it not been trained on it, in closed form.

With M_i = (I ⊗ z_i)ᵀ (nH)⁻¹ (I ⊗ z_i) (C, C) and A_i = diag p_i − p_i p_iᵀ, leaving out sample i of weight w_i changes
the weights by δ_i = (1/n) H⁻¹ (u_i z_iᵀ) with u_i = (I − w_i A_i M_i)⁻¹ w_i r_i, its own logits by M_i u_i: one Newton
step of the problem without it (Rad & Maleki, arXiv 1801.10243). It errs where leaving the sample out moves much, far:
where its leverage makes u_i several times w_i r_i, as for the only image with a bright pixel in a corner.

The exact M_i take 2 n (C·D)² FLOP and H as a matrix. Where that is too much, the leverages of the problem *without* the
sample, M₋ᵢ = M_i (I − w_i A_i M_i)⁻¹, are had from Kronecker factors G ⊗ A. A plain K-FAC solution puts the average
curvature G in the place of each sample's own, which makes I − A_i M_i nearly singular for samples of high leverage.
Instead, G is the mean of w_i A_i (I + w_i M₋ᵢ A_i)⁻¹, each sample's curvature as the others see it: a fixed point, as
in the deterministic equivalents of El Karoui (Probability Theory and Related Fields 170, 2018). With n samples that
takes about n (D² + 20 C²) FLOP; of more than CLASSES_APART classes, only the diagonal of G is taken, for n D (D + 2 C).

Kronecker factors give all classes the features' moments over all samples. A class of fewer samples than features has
its own: its block of H, H_c = Σ_j w_j p_jc (1 − p_jc) z_j z_jᵀ / n + λ I, is far from that mean. There the leverages
are zᵀ (n H_c)⁻¹ z, what couples classes left out ('blocks'). With 10 samples in each of 300 classes of 48 features, the
probability of the label is off by .004 on average, where Kronecker factors are off by .13 and leaving nothing out by
.20. A block is made of the samples for which the class is among the LIKELY_CLASSES likeliest, the others standing for
the mean: about 4 n D² LIKELY_CLASSES + C D³ FLOP. Where so few samples hold a class, leaving one out changes the
curvature that the others have: one Newton step leaves a wrong label up to a hundred times the probability that it has
without the sample, as much as chance mistakes have. So the label's own logit is followed to the optimum of its block
without the sample, wherever that step is large; the mean log-probability of wrong labels then comes to -9.6 where that
of refits is -9.7, and one step has -5.4 (500 classes of 4 samples, 64 features).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from audit.compute.matrix import Rows, blocks, each, here
from audit.compute.threads import one_thread, softmax
from audit.head.hessian import BLOCKS, HeadHessian, KroneckerFactors, chunks, kronecker_factors

EXACT_FLOP = 1e12  # 'auto' affords the exact leverages up to n (C·D)² of this: some 5 s on two cores
FIXED_POINT_STEPS = 3
LIKELY_CLASSES = 32  # of a sample; of more, the couplings between them make no difference any more
LITTLE = 0.01  # share of what is usual for a class, or most for a sample, below which its own block makes no difference
MOST_SEEN = 0.999  # a sample's own part of what it is seen through is below one; rounding must not make it one
# With more, on made-up data, mistakes were missed, or five times as many were expected as there are. With fewer, blocks
# are still nearer to refits, but take longer, and find no more mistakes.
MOST_PARAMETERS = 2.0
LARGE_STEP = 1.0  # of a label's logit (nats), from where on it is followed to the optimum
BENT_MAKERS = 64  # samples of the largest curvature in a block; their part of it is what the logit is followed through
BLOCK_STEPS = 10  # of Newton's, at most; some three are taken
BLOCK_HALVINGS = 5  # of a step that raises the objective
ROUNDING = 1e-9  # of an objective, by which it may rise
BLOCK_SETTLED = 0.05  # nats: the largest change of a logit, below which no further step is made
LEAST_PROBABILITY = 1e-9  # in odds
SEEN_TOLERANCE = 1e-5  # of the residual
SEEN_STEPS = 100
FIXED_POINT_SAMPLES = 4000  # the mean curvature is taken over about as many, evenly spaced, samples


@dataclass(frozen=True)
class LeaveOneOut:
    """Predictions without the sample.

    Attributes:
        probabilities: (n, C).
        self_influence: rᵀ M r (n,), ≥ 0: about the rise of the sample's own loss on leaving it out (nats); NaN where
            only predictions were asked for.
        method: 'exact' leverages, those of the self-consistent Kronecker-factored Hessian ('kfac'), or those of each
            class's own block of it ('blocks').
        factors: in whose coordinates 'kfac' has the leverages; None with the others.
    """

    probabilities: Tensor
    self_influence: Tensor
    method: str
    factors: KroneckerFactors | None = None


def leave_one_out(
    hessian: HeadHessian,
    z: Rows,
    logits: Rows,
    residuals: Rows,
    weights: Rows | None = None,
    trained_on: Tensor | None = None,
    method: str = "auto",
    start: KroneckerFactors | None = None,
    predictions_only: bool = False,
) -> LeaveOneOut:
    """Leave-one-out predictions of samples.

    Args:
        hessian: of the training objective.
        z, logits, residuals: (n, D), (n, C) and p − t (n, C) of the samples. Where they are not in memory, the work is
            done in single precision by 'kfac', which is no less exact for it; 'blocks' takes them in memory only.
        weights: the samples' weights w (n,) in the objective; None for ones.
        trained_on: bool (n,), False where the sample was not in training: its prediction stays as it is; None for all
            True.
        method: 'exact', 'kfac', 'blocks', or 'auto': 'exact' where that is affordable, else `approximation`.
        start: the `factors` of a head that was much like this one, on the same features with the same L2: one step of
            the fixed point, from there, then does.
        predictions_only: all else, which takes up to a third of the time, is left out.

    Raises:
        ConvergenceError: if the Hessian is not positive definite.
    """
    if method == "auto":
        flop = len(z) * float(hessian.parameters) ** 2
        affordable = hessian.use_cholesky("auto") and flop <= EXACT_FLOP
        method = "exact" if affordable else approximation(hessian)
    samples: list[Rows | None] = [z, logits, residuals]
    if method == "kfac" and not isinstance(z, Tensor):
        samples = [z.float(), logits.float(), residuals.float()]
    samples += [weights, trained_on]
    factors = None
    if method == "kfac":
        factors = _without_the_sample(hessian, start)
        found = each(_left_out_approximately, [*samples, None, None], factors, hessian.n, predictions_only)
    elif method == "blocks":
        apart = KroneckerFactors(None, None, torch.ones(1, 1, dtype=z.dtype, device=z.device), hessian.ridge)
        w = _weights_of(slice(0, len(z)), z, weights, trained_on)
        leverages, bend = _leverages_by_class(hessian, here(z), here(residuals), w)
        found = each(_left_out_approximately, [*samples, leverages, bend], apart, hessian.n, predictions_only)
    else:
        found = each(_left_out_exactly, samples, hessian, predictions_only)
    probabilities, self_influence = found
    return LeaveOneOut(probabilities, self_influence, method, factors)


def approximation(hessian: HeadHessian) -> str:
    """What stands for exact leverages where these are not affordable: 'kfac', or 'blocks' where that cannot be right.

    It cannot where, by Kronecker factors, the head has more than MOST_PARAMETERS effective parameters a sample: the
    trace of (H − λ) H⁻¹, over n. Two classes, which one contrast couples, and features that are not in memory are
    always for 'kfac'.
    """
    if hessian.classes == 2 or not isinstance(hessian.z, Tensor):
        return "kfac"
    scales = hessian.kronecker(apart=True).scales.double()
    effective = float((1 - hessian.ridge * scales).sum()) / hessian.n
    return "blocks" if effective > MOST_PARAMETERS else "kfac"


def _left_out_exactly(
    z: Rows,
    logits: Rows,
    residuals: Rows,
    weights: Rows | None,
    trained_on: Tensor | None,
    *common: Any,
) -> tuple[Tensor, Tensor]:
    """Probabilities (n, C) and self-influence (n,)."""
    hessian, predictions_only = common
    probabilities, self_influence = _nothing_yet(z, logits)
    for rows, kfac, m in _exact(hessian, z):
        basis = kfac.contrasts.to(z.dtype)
        w = _weights_of(rows, z, weights, trained_on)
        r = residuals[rows] @ basis
        a = _curvature(softmax(logits[rows]), basis)
        eye = torch.eye(m.shape[1], dtype=m.dtype, device=m.device)
        u = torch.linalg.solve(eye - w[:, None, None] * (a @ m), w[:, None] * r)
        shift = torch.einsum("nge,ne->ng", m, u)
        probabilities[rows] = softmax(logits[rows] + shift @ basis.T)
        if not predictions_only:
            self_influence[rows] = torch.einsum("ng,nge,ne->n", r, m, r).clamp_min_(0)
    return probabilities, self_influence


def _left_out_approximately(
    z: Rows,
    logits: Rows,
    residuals: Rows,
    weights: Rows | None,
    trained_on: Tensor | None,
    leverages: Tensor | None,
    bend: Tensor | None,
    *common: Any,
) -> tuple[Tensor, Tensor]:
    """As `_left_out_exactly`, with the diagonals of M₋ᵢ, those of the factors by default, and no matrix a sample.

    `bend` (n,) is what one step misses of the logit of `_own_class`.
    """
    kfac, n, predictions_only = common
    probabilities, self_influence = _nothing_yet(z, logits)
    for rows in blocks(z, 3 * z.shape[1] + 10 * logits.shape[1]):
        z_rows, logits_rows = z[rows], logits[rows]
        p, w = softmax(logits_rows), _weights_of(rows, z, weights, trained_on)[:, None]
        m = _diagonals(z_rows, kfac, n) if leverages is None else _without_itself(leverages[rows], w * p * (1 - p))
        with one_thread(logits_rows.numel()):
            r = kfac.contrast(residuals[rows])
            left_out = logits_rows + kfac.contrast_back(m * w * r)
            if bend is not None:
                left_out.scatter_add_(1, _own_class(residuals[rows])[:, None], bend[rows, None])
            probabilities[rows] = softmax(left_out)
            if not predictions_only:
                self_influence[rows] = _seen(p, m, w, r, kfac).clamp_min_(0)
    return probabilities, self_influence


def _nothing_yet(z: Rows, logits: Rows) -> tuple[Tensor, Tensor]:
    """Room for probabilities (n, C), and self-influence (n,) that is NaN until it is known."""
    probabilities = torch.empty(logits.shape, dtype=z.dtype, device=z.device)
    return probabilities, torch.full((len(z),), torch.nan, dtype=z.dtype, device=z.device)


def _weights_of(rows: slice, z: Rows, weights: Rows | None, trained_on: Tensor | None) -> Tensor:
    """(k,) in z's precision, 0 for samples that were not in training."""
    ones = torch.ones(rows.stop - rows.start, dtype=z.dtype, device=z.device)
    w = ones if weights is None else weights[rows].to(ones)
    return w if trained_on is None else torch.where(trained_on[rows], w, 0)


def _curved(p: Tensor, v: Tensor, kfac: KroneckerFactors) -> Tensor:
    """A_i v_i (k, G) for p (k, C) and v (k, G), without making A_i."""
    weighted = p * kfac.contrast_back(v)
    return kfac.contrast(weighted - p * weighted.sum(1, keepdim=True))


def _seen(p: Tensor, m: Tensor, w: Tensor, r: Tensor, kfac: KroneckerFactors) -> Tensor:
    """rᵀ (M₋ᵢ⁻¹ + w A_i)⁻¹ r (k,), the self-influence: with the sample in, for M₋ᵢ = diag m without it.

    By conjugate gradients on (I + w √M A √M) t = √M r for all samples at once; the eigenvalues lie between 1 and
    1 + max m / 2. The error of the quadratic form is the square of the residual's.
    """
    root = m.sqrt()
    b = root * r
    t, residual = torch.zeros_like(b), b.clone()
    direction = b.clone()
    rs = (b * b).sum(1, keepdim=True)
    limit = SEEN_TOLERANCE**2 * rs
    tiny = torch.finfo(b.dtype).tiny
    for _ in range(SEEN_STEPS):
        if bool((rs <= limit).all()):
            break
        moved = direction + w * root * _curved(p, root * direction, kfac)
        alpha = rs / (direction * moved).sum(1, keepdim=True).clamp_min(tiny)
        t += alpha * direction
        residual -= alpha * moved
        rs, before = (residual * residual).sum(1, keepdim=True), rs
        direction = residual + rs / before.clamp_min(tiny) * direction
    return (b * t).sum(1)


def _curvature(p: Tensor, basis: Tensor) -> Tensor:
    """A_i in a basis (C, G) of contrasts: (k, G, G) for p (k, C)."""
    projected = p @ basis
    return (basis.T * p[:, None, :]) @ basis - projected[:, :, None] * projected[:, None, :]


def _exact(hessian: HeadHessian, z: Rows) -> Iterator[tuple[slice, KroneckerFactors, Tensor]]:
    """M (rows, C − 1, C − 1) in chunks, in the basis of the factors that come with it."""
    factor = hessian.factor
    inverse = factor.inverse
    groups, features = factor.kfac.scales.shape
    edges = [round(part * features / BLOCKS) for part in range(BLOCKS + 1)]
    for rows in blocks(z, 3 * features + 3 * groups**2):
        part = factor.kfac.rotate(z[rows].to(inverse.dtype))
        m = part.new_zeros(len(part), groups, groups)
        for g in range(groups):
            for h in range(g, groups):
                form = inverse[g, :, h, :] + inverse[g, :, h, :].T
                for start, stop in pairwise(edges):
                    left = part[:, :start] @ form[:start, start:stop]
                    left += part[:, start:stop] @ (form[start:stop, start:stop] / 2)
                    m[:, g, h] += (left * part[:, start:stop]).sum(1)
                m[:, h, g] = m[:, g, h]
        yield rows, factor.kfac, m.to(z.dtype) / hessian.n


def _without_the_sample(hessian: HeadHessian, start: KroneckerFactors | None) -> KroneckerFactors:
    """The factors in whose coordinates M₋ᵢ are nearly diagonal; by FIXED_POINT_STEPS from K-FAC, or one from others."""
    kfac = start or hessian.kfac
    every = max(1, round(hessian.n / FIXED_POINT_SAMPLES))
    squares, p = _squares(hessian.z[::every], kfac), hessian.p[::every].double()
    w = None if hessian.w is None else hessian.w[::every]
    step = _seen_by_others_apart if kfac.g_vectors is None else _seen_by_others
    for _ in range(1 if start else FIXED_POINT_STEPS):
        kfac = step(hessian, kfac, squares, p, w)
    return kfac


def _diagonals(z: Tensor, kfac: KroneckerFactors, n: int) -> Tensor:
    """Of M for samples z (k, D), (k, C − 1); sums of squares, to which single precision does no harm."""
    return _sums_of_squares(_squares(z, kfac), kfac, n).to(z.dtype)


def _squares(z: Tensor, kfac: KroneckerFactors) -> Tensor:
    """Of z (k, D) in the eigenvectors of the features, which factors of the same features share."""
    return kfac.rotate(z.float()) ** 2


def _sums_of_squares(squares: Tensor, kfac: KroneckerFactors, n: int) -> Tensor:
    """Diagonals of M (k, C − 1) from `_squares` (k, D)."""
    return squares @ kfac.scales.float().T / n


def _leverages_by_class(hessian: HeadHessian, z: Tensor, residuals: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Diagonals of M (n, C) by each class's own block of H, and `_bends` (n,), for samples in memory of weights (n,).

    A sample has those of the classes that its residuals are largest for, its label's and the likeliest, from the
    blocks; of the others, that move next to nothing, from Kronecker factors.
    """
    likely = min(LIKELY_CLASSES, hessian.classes)
    curvature = hessian.p[:] * (1 - hessian.p[:])
    if hessian.w is not None:
        curvature = curvature * hessian.w[:, None]
    off = residuals.abs()
    makers = _by_class(curvature, likely, LITTLE * curvature.mean(0))
    evaluated = _by_class(off, likely, LITTLE * off.amax(1, keepdim=True))
    del off
    leverages = _diagonals(z, hessian.kronecker(apart=True), hessian.n)
    # In the coordinates in which the mean moment is diagonal, so is what the other samples and λ bring into a block.
    rotated = hessian.moment.rotate(z)
    made_of = rotated if z is hessian.z else hessian.moment.rotate(hessian.z)
    whole = curvature.sum(0, dtype=torch.float64)
    bases = torch.empty(hessian.classes, hessian.features, dtype=torch.float64, device=z.device)
    for number, (rows, own) in enumerate(zip(makers, evaluated, strict=True)):
        v = curvature[rows, number].double()
        rest = (whole[number] - v.sum()).clamp_min(0)
        bases[number] = rest * hessian.moment.values + hessian.n * hessian.ridge
        makers_z = made_of[rows]
        own_z = makers_z if made_of is rotated and torch.equal(rows, own) else rotated[own]
        leverages[own, number] = _leverages_in_block(makers_z, v, bases[number], own_z).to(leverages)
    bends = torch.zeros(len(z), dtype=z.dtype, device=z.device)
    if z is not hessian.z:  # which of its samples is left out is not known
        return leverages, bends
    own_class = _own_class(residuals)
    places = torch.arange(len(z), device=z.device)
    p, own = hessian.p[:][places, own_class], leverages[places, own_class]
    pulls = (weights * residuals[places, own_class]).double()
    large = (_without_itself(own, weights * p * (1 - p)) * pulls).abs() >= LARGE_STEP
    for number in own_class[large].unique().tolist():
        rows, left_out = makers[number], (large & (own_class == number)).nonzero()[:, 0]
        if len(rows) > BENT_MAKERS:
            rows = rows[curvature[rows, number].topk(BENT_MAKERS).indices]
        bends[left_out] = _bends_in_block(
            rotated[rows],
            hessian.p[rows, number].double(),
            weights[rows].double(),
            bases[number],
            rotated[left_out],
            pulls[left_out],
            left_out[:, None] == rows,
        ).to(bends)
    return leverages, bends


def _leverages_in_block(makers: Tensor, v: Tensor, base: Tensor, z: Tensor) -> Tensor:
    """zᵀ (diag base + Σ_j v_j m_j m_jᵀ)⁻¹ z (k,) for samples z (k, D), with m (r, D), v (r,) ≥ 0 and base (D,) > 0.

    Through a matrix of D × D, or of r × r where that takes less; in double precision where single does not do.
    """
    r, features = makers.shape
    by_features = 2 * r * features**2 + 4 * features**3 / 3 + 2 * len(z) * features**2
    by_makers = r**3 / 3 + r * len(z) * (r + 2 * features)
    root, scale = v.sqrt().to(z), base.rsqrt().to(z)
    scaled_z = z * scale
    scaled = root[:, None] * (scaled_z if makers is z else makers * scale)
    if by_features <= by_makers:
        lower, info = _cholesky_beside_identity(scaled.T @ scaled)
        inverse_root = torch.linalg.solve_triangular(
            lower, torch.eye(features, dtype=lower.dtype, device=lower.device), upper=False
        ).to(z)
        found = ((scaled_z @ inverse_root.T) ** 2).sum(1)
    else:
        products = scaled @ scaled_z.T
        lower, info = _cholesky_beside_identity(products * root if makers is z else scaled @ scaled.T)
        seen = torch.linalg.solve_triangular(lower, products.double(), upper=False)
        found = (scaled_z**2).sum(1) - (seen**2).sum(0)
    if info and z.dtype != torch.float64:
        return _leverages_in_block(makers.double(), v, base, z.double())
    return found.clamp_min(0)


def _bends_in_block(
    makers: Tensor, p: Tensor, w: Tensor, base: Tensor, z: Tensor, pulls: Tensor, itself: Tensor
) -> Tensor:
    """How much farther than one Newton step a class's logit moves (k,) when samples are left out, one at a time.

    Without sample i, the class's weights move by δ to the minimum of ½ δᵀ diag(base) δ − w_i r_i z_iᵀδ + Σ_j≠i w_j
    (ℓ(u_j + m_jᵀδ) − p_j m_jᵀδ): a logistic regression on the makers j, what else the logits are made of staying as it
    is. δ = base⁻¹ (w_i r_i z_i + Σ_j c_j m_j) with c_j = w_j (p_j − p_j(δ)), so that all is done in c by products of
    samples.

    Args:
        makers, p, w: of the samples whose curvature makes the block, features (r, D), probabilities of the class (r,)
            and weights (r,).
        base: (D,) > 0, the curvature of all else.
        z, pulls: features (k, D) and w_i r_i (k,) of the samples that are left out.
        itself: bool (k, r), the maker is the sample that is left out.
    """
    root = base.rsqrt()
    scaled, scaled_z = makers.double() * root, z.double() * root
    products = scaled @ scaled.T
    across = scaled_z @ scaled.T
    u = p.clamp(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY).logit()
    w = w * ~itself
    eye = torch.eye(len(products), dtype=products.dtype, device=products.device)
    found = torch.empty_like(pulls)
    for part in chunks(len(z), 3 * len(p) ** 2 + 10 * len(p)):
        found[part] = _bends(products, across[part], u, w[part], (scaled_z[part] ** 2).sum(1), pulls[part], eye)
    return found


def _bends(
    products: Tensor, across: Tensor, u: Tensor, w: Tensor, squares: Tensor, pulls: Tensor, eye: Tensor
) -> Tensor:
    """`_bends_in_block` (k,) from products of makers (r, r), and of samples with them (k, r) and themselves (k,)."""
    p = u.sigmoid()

    def moved(c: Tensor) -> Tensor:
        return c @ products + pulls[:, None] * across

    def objective(c: Tensor, a: Tensor) -> Tensor:
        """Up to ½ w_i² r_i² z_iᵀ diag(base)⁻¹ z_i."""
        losses = torch.nn.functional.softplus(u + a) - torch.nn.functional.softplus(u) - p * a
        return (c * (c @ products)).sum(1) / 2 + (w * losses).sum(1)

    def newton(a: Tensor) -> Tensor:
        now = (u + a).sigmoid()
        curvature = w * now * (1 - now)
        root, held = curvature.sqrt(), w * (p - now) + curvature * a
        lower, _ = torch.linalg.cholesky_ex(eye + root[:, :, None] * products * root[:, None, :])
        return held - root * torch.cholesky_solve((root * moved(held))[:, :, None], lower)[:, :, 0]

    def logit(c: Tensor) -> Tensor:
        return (c * across).sum(1) + pulls * squares

    c = newton(torch.zeros_like(w))
    first = now = logit(c)
    going = torch.ones_like(pulls, dtype=torch.bool)
    for _ in range(BLOCK_STEPS):
        a = moved(c)
        step, value = newton(a) - c, objective(c, a)
        for _ in range(BLOCK_HALVINGS):
            raised = objective(c + step, moved(c + step)) > value * (1 + ROUNDING)
            if not bool(raised.any()):
                break
            step = torch.where(raised[:, None], step / 2, step)
        c = torch.where(going[:, None], c + step, c)
        now, before = logit(c), now
        going &= (now - before).abs() > BLOCK_SETTLED
        if not bool(going.any()):
            break
    return now - first


def _cholesky_beside_identity(products: Tensor) -> tuple[Tensor, bool]:
    """The factor of I + products, in double precision, and whether rounding in them has kept it from being made."""
    matrix = products.double()
    matrix.diagonal().add_(1)
    lower, info = torch.linalg.cholesky_ex(matrix)
    return lower, bool(info)


def _without_itself(leverages: Tensor, curvature: Tensor) -> Tensor:
    """Diagonals of M₋ᵢ from those of M and the samples' own curvature, w p (1 − p)."""
    return leverages / (1 - (curvature * leverages).clamp_max(MOST_SEEN))


def _own_class(residuals: Tensor) -> Tensor:
    """The class (k,) that residuals p − t (k, C) say is the label."""
    return residuals.argmin(1)


def _by_class(values: Tensor, most: int, least: Tensor) -> list[Tensor]:
    """For each class of values (n, C), the samples for which it is among those of the `most` largest values, and whose
    values are not below `least` (n, 1) or (C,)."""
    largest, classes = values.masked_fill(values < least, -1).topk(most, dim=1, sorted=False)
    samples, places = (largest >= 0).nonzero(as_tuple=True)
    classes = classes[samples, places]
    order = torch.argsort(classes, stable=True)
    return list(samples[order].split(torch.bincount(classes, minlength=values.shape[1]).tolist()))


def _seen_by_others(
    hessian: HeadHessian, kfac: KroneckerFactors, squares: Tensor, p: Tensor, w: Tensor | None
) -> KroneckerFactors:
    """Kronecker factors whose G is the mean of w A_i (I + w M₋ᵢ A_i)⁻¹ over k samples.

    Of these come their `_squares` (k, D), p (k, C) and w (k,).

    On contrasts the pseudo-inverse of A_i = diag p − ppᵀ is diag 1/p, so that the mean is of Q − Q11ᵀQ / 1ᵀQ1 with
    Q = (diag 1/(w p) + M₋ᵢ)⁻¹. Of M₋ᵢ, what couples a sample's LIKELY_CLASSES likeliest classes is kept; of the others,
    whose p is next to nothing, the diagonal. That takes about C² + LIKELY_CLASSES² C FLOP a sample and not C³.
    """
    basis = kfac.contrasts.double()
    classes, groups = basis.shape
    likely = min(LIKELY_CLASSES, classes)
    total = torch.zeros(classes, classes, dtype=basis.dtype, device=p.device)
    basis_squares = (basis**2).T
    for rows in blocks(p, 6 * classes + 2 * likely * groups + 4 * likely**2):
        m = _sums_of_squares(squares[rows], kfac, hessian.n).double()
        with one_thread(len(m) * likely * groups):
            own = p[rows] if w is None else p[rows] * w[rows, None]
            if likely == classes:
                block = _coupled(basis, m, own)
                total += block.sum(0)
                sums = block.sum(2)
            else:
                q, places = own.topk(likely, dim=1, sorted=False)
                block = _coupled(basis[places], m, q)
                apart = (own / (1 + (m @ basis_squares) * own)).scatter_(1, places, 0.0)
                sums = apart.scatter(1, places, block.sum(2))
                cells = (places[:, :, None] * classes + places[:, None, :]).flatten()
                total.view(-1).index_add_(0, cells, block.flatten())
                total.diagonal().add_(apart.sum(0))
            share = sums / sums.sum(1, keepdim=True).clamp_min(torch.finfo(sums.dtype).tiny)
            total -= share.T @ sums
    mean = total * hessian.n / len(p)
    return kronecker_factors((mean + mean.T) / 2, hessian.n, hessian.moment, hessian.ridge, hessian.z.dtype)


def _coupled(basis: Tensor, m: Tensor, q: Tensor) -> Tensor:
    """(diag 1/q + B diag(m) Bᵀ)⁻¹ (k, L, L) for rows B (L, G) of the contrasts, or (k, L, G), m (k, G) and q (k, L)."""
    root = q.sqrt()
    roots = root[:, :, None] * root[:, None, :]
    matrix = roots * ((basis * m[:, None, :]) @ basis.mT)
    matrix.diagonal(dim1=1, dim2=2).add_(1)
    return torch.cholesky_inverse(torch.linalg.cholesky(matrix)).mul_(roots)


def _seen_by_others_apart(
    hessian: HeadHessian, kfac: KroneckerFactors, squares: Tensor, p: Tensor, w: Tensor | None
) -> KroneckerFactors:
    """As `_seen_by_others` with classes taken apart: M₋ᵢ is diagonal, so that Q is, and of the mean the diagonal is."""
    total = torch.zeros(hessian.classes, dtype=torch.float64, device=p.device)
    for rows in blocks(p, 6 * hessian.classes):
        m = _sums_of_squares(squares[rows], kfac, hessian.n).double()
        own = p[rows] if w is None else p[rows] * w[rows, None]
        q = own / (1 + m * own)
        total += (q - q**2 / q.sum(1, keepdim=True).clamp_min(torch.finfo(q.dtype).tiny)).sum(0)
    return kronecker_factors(total * hessian.n / len(p), hessian.n, hessian.moment, hessian.ridge, hessian.z.dtype)
