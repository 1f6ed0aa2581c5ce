"""What a GPU does: `python -m tests.benchmarks.gpu [line ...]`, or `make bench-gpu`, on a machine that has one.

It needs neither FiftyOne nor a network: a checkout, torch with CUDA, and for the lines against pyDVL, pyDVL.
Lines that are not named keep the figures that gpu.json has of them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

import audit  # before torch: it tells OpenMP not to spin  # isort: skip
import torch
from scipy.stats import spearmanr

from audit.head.fit import train_head
from audit.images.load_backbone import load_backbone
from audit.influence.engine import Labelled
from integrations.sources.digits import digits
from tests.benchmarks.influence import audited_influence, direct, leave_one_out, made, medians, recipe, run_lines, timed

DEVICE = "cuda"
SCORES = ("influence", "self_influence", "loo_probability", "suspicion")


def imagenet(
    samples: int = 1_281_167, features: int = 2048, classes: int = 1000, held_out: int = 50_000, device: str = DEVICE
) -> dict[str, Any]:
    """ImageNet's size, 1,281,167 × 2048 embeddings, 1000 classes, 50,000 to validate on, single precision.

    The head's L2 is chosen by validation loss, as in an audit; influence is of every sample on the mean
    validation loss, from the embeddings: predictions, Kronecker factors, one solution, inner products.
    """
    x, labels = made(samples + held_out, features, classes, dtype=torch.float32, device=device)
    if device == DEVICE:
        torch.cuda.reset_peak_memory_stats()
    parts = (x[:samples], labels[:samples], x[samples:], labels[samples:])
    head, head_s = timed(lambda: train_head(*parts, classes))
    embedded = Labelled.of(x, labels, classes)
    found, influence_s = timed(lambda: audited_influence(head, embedded, samples))
    assert bool(torch.isfinite(found.values).all())
    return {
        "head_s": head_s,
        "influence_s": influence_s,
        "l2": head.l2,
        "penalties tried": len(head.l2_path),
        "head_steps": len(head.curve) - 1,
        "gradient_norm": head.gradient_norm,
        "residual": found.residual,
        "validation_loss": head.curve[-1][1],
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if device == DEVICE else None,
        "target": "influence ≤ 60 s, head ≤ 120 s, ≤ 60 GiB",
    }


def recipe_on_gpu() -> dict[str, Any]:
    """The original recipe's job (707 × 96, 64 px, ResNet-18, 2 classes) against pyDVL's CgInfluence, on the GPU."""
    return recipe(DEVICE)


def direct_on_gpu() -> dict[str, Any]:
    """Embeddings 5000 × 512, 10 classes, 500 validation samples, against pyDVL's DirectInfluence, both on the GPU."""
    return direct(DEVICE)


def leave_one_out_on_gpu() -> dict[str, Any]:
    """Leave-one-out probabilities of 10 000 × 512, 10 classes, against 5-fold cross-validation, on the GPU."""
    return leave_one_out(DEVICE)


def _audits(audited: Callable[[str], audit.AuditResult]) -> dict[str, Any]:
    """The same audit on the GPU, in single precision, and on the processor, in double."""
    audited(DEVICE)  # what a GPU does once in a process: kernels are loaded, libraries find their ways
    on_gpu, gpu_s = timed(lambda: audited(DEVICE))
    on_cpu, cpu_s = timed(lambda: audited("cpu"))
    ours, theirs = on_gpu.scores, on_cpu.scores
    return {
        "gpu_s": gpu_s,
        "cpu_s": cpu_s,
        "gpu stages, s": on_gpu.summary.timings,
        "cpu stages, s": on_cpu.summary.timings,
        "rank correlation with the processor's": {
            name: float(spearmanr(ours[name], theirs[name], nan_policy="omit").statistic) for name in SCORES
        },
        "largest difference of suspicion": float((ours["suspicion"] - theirs["suspicion"]).abs().max()),
        "flags": {name: int(result.scores["flag"].sum()) for name, result in (("gpu", on_gpu), ("cpu", on_cpu))},
        "flags that differ": int((ours["flag"] != theirs["flag"]).sum()),
    }


def audit_of_embeddings(samples: int = 50_000, features: int = 512, classes: int = 10) -> dict[str, Any]:
    """`audit_embeddings` of 50,000 × 512, 10 classes, on the GPU and on the processor of the same machine."""
    x, labels = made(samples, features, classes, dtype=torch.float32)
    arrays = (x.numpy(), labels.numpy())
    return _audits(lambda device: audit.audit_embeddings(*arrays, config=audit.AuditConfig(device=device)))


def audit_of_a_million(samples: int = 1_000_000, features: int = 512, classes: int = 100) -> dict[str, Any]:
    """`audit_embeddings` of 1,000,000 × 512, 100 classes, on the GPU."""
    x, labels = made(samples, features, classes, dtype=torch.float32, device=DEVICE)
    arrays = (x.cpu().numpy(), labels.cpu().numpy())
    del x
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    result, seconds = timed(lambda: audit.audit_embeddings(*arrays, config=audit.AuditConfig(device=DEVICE)))
    return {
        "gpu_s": seconds,
        "stages, s": result.summary.timings,
        "flagged": result.summary.counts.flagged,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
    }


def audit_of_images() -> dict[str, Any]:
    """`audit_images` of the 1797 digits (64 px PNG, ResNet-18), decoding and embedding included, nothing cached."""
    images = list(digits())
    samples = audit.Samples(
        images=[image.image for image in images],
        labels=[image.label for image in images],
        ids=[image.source_id for image in images],
    )

    def audited(device: str) -> audit.AuditResult:
        with tempfile.TemporaryDirectory() as folder:
            config = audit.AuditConfig(weights="bundled", device=device, cache_dir=folder, inject=0.1)
            return audit.audit_images(samples, config=config)

    return _audits(audited)


def embedding(batches: int = 32) -> dict[str, Any]:
    """Pixels through the bundled ResNet-18 (64 px): images a second, to the GPU and back to the host."""
    shape = (audit.AuditConfig().batch_size, 64, 64, 3)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    on_cpu = load_backbone(weights="bundled", device="cpu").embed(pixels)
    found: dict[str, Any] = {}
    for precision in ("float32", "bfloat16"):
        backbone = load_backbone(weights="bundled", device=DEVICE, precision=precision)
        difference = (backbone.embed(pixels) - on_cpu).norm() / on_cpu.norm()

        def job(backbone: Any = backbone) -> None:
            for _ in range(batches):
                backbone.embed(pixels)

        found[precision] = {
            "images/s": batches * len(pixels) / medians({"job": job}, 5)["job"],
            "difference from the processor's float32": float(difference),
        }
    return found


LINES: dict[str, Callable[[], dict[str, Any]]] = {
    "imagenet": imagenet,
    "recipe": recipe_on_gpu,
    "direct": direct_on_gpu,
    "leave-one-out": leave_one_out_on_gpu,
    "audit of embeddings": audit_of_embeddings,
    "audit of a million": audit_of_a_million,
    "audit of images": audit_of_images,
    "embedding": embedding,
}

LIMITS = {
    "recipe": "The targets are those of the processor's line. Here so little work is launches of small kernels on both "
    "sides: pyDVL's 17 passes of 707 small images take 0.3 s, and our embedding, whose 803 images come from the host "
    "in batches of 256, takes three quarters of our time. pyDVL's convolutions are in TF32, PyTorch's default, ours in "
    "the precision that is named; that is its difference from the exact influence.",
    "direct": "The target is that of the processor's line. Here some 45 steps of conjugate gradients have 5e9 FLOP to "
    "do, a fraction of a millisecond; the rest of the time is launches of small kernels.",
}

INTRODUCTION = [
    "# On a GPU: speed, memory, and agreement with the processor",
    "",
    "Made by `make bench-gpu` (`python -m tests.benchmarks.gpu`). Ratios are of medians of three, taken in turns in",
    "one process. The processor's own figures against these peers: [influence.md](influence.md).",
]

if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("error: there is no GPU here that torch can use; run this where nvidia-smi lists one")
    run_lines("gpu", INTRODUCTION, LINES, LIMITS, __doc__)
