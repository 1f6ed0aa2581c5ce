"""How fast the influence engine is: `python -m tests.benchmarks.influence [line ...]`, or `make bench`.

Every ratio is of two medians taken in turns in one process, so that what else the machine does falls on both alike.
Lines that are not named keep the figures that influence.json has of them.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import audit  # noqa: F401  # before torch: it tells OpenMP not to spin  # isort: skip
import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional

from audit.config import AuditConfig
from audit.head.fit import Head, fit_softmax, one_hot, probabilities, residuals, train_head
from audit.head.hessian import HeadHessian
from audit.head.leave_one_out.choose_method import leave_one_out as closed_forms
from audit.head.stable import StableSolver
from audit.head.standardise import Standardiser
from audit.influence.engine import Influence, Labelled
from audit.influence.make_engine import make_engine
from tests.benchmarks.data import data_set

HERE = Path(__file__).parent
REPEATS = 3
RECIPE_L2 = 1e-3
SIZES = (10_000, 100_000)


def medians(jobs: dict[str, Callable[[], Any]], repeats: int = REPEATS) -> dict[str, float]:
    """Median seconds of each job, run in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            seconds[name].append(timed(job)[1])
    return {name: statistics.median(values) for name, values in seconds.items()}


def timed(job: Callable[[], Any]) -> tuple[Any, float]:
    """What a job comes to, and its seconds, until a GPU has done all that it was given."""
    began = time.perf_counter()
    outcome = job()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return outcome, time.perf_counter() - began


def made(
    n: int,
    features: int,
    classes: int,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    into: np.ndarray | None = None,
    device: str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Embeddings like a ResNet's (≥ 0, correlated, decaying spectrum), overlapping classes, one label in ten wrong."""
    generator = torch.Generator(device).manual_seed(seed)
    numbers: dict[str, Any] = {"generator": generator, "device": device}
    spectrum = torch.arange(1, features + 1, dtype=dtype, device=device) ** -0.5
    mixing = torch.linalg.qr(torch.randn(features, features, dtype=dtype, **numbers))[0] * spectrum
    centres = torch.randn(classes, features, dtype=dtype, **numbers) * 0.7
    labels = torch.randint(classes, (n,), **numbers)
    x = torch.empty(n, features, dtype=dtype, device=device) if into is None else torch.from_numpy(into)
    for start in range(0, n, 100_000):
        rows = slice(start, start + 100_000)
        noise = torch.randn(len(labels[rows]), features, dtype=dtype, **numbers)
        x[rows] = ((centres[labels[rows]] + noise) @ mixing.T).clamp_min_(0)
    wrong = torch.rand(n, **numbers) < 0.1
    labels[wrong] = torch.randint(classes, (int(wrong.sum()),), **numbers)
    return x, labels


def audited_influence(head: Head, samples: Labelled, train: int) -> Influence:
    """What an audit does once a head is trained: predictions, Hessian, one solution, and inner products with it.

    Args:
        head: trained on the first samples.
        samples: to train on, and after them those to validate on.
        train: how many are to train on.
    """
    z = head.features(samples.inputs[:train])
    hessian = HeadHessian(z, probabilities(z, head.weight), head.l2)
    rows = torch.arange(len(samples), device=z.device)
    engine = make_engine("exact", head, samples, rows[:train], StableSolver(hessian))
    return engine.averaged(samples, rows[train:], samples.targets[train:])


def recipe(device: str = "cpu") -> dict[str, Any]:
    """The original recipe's job (707 × 96, 64 px, ResNet-18, 2 classes) against pyDVL's CgInfluence on the model.

    As in the recipe, the backbone is frozen, pyDVL takes images through the whole network at every step, and 1e-3 is on
    the Hessian's diagonal. Unlike there, pyDVL is used as well as it can be: one batch, all right-hand sides at once.
    """
    import pyarrow.parquet as parquet
    from pydvl.influence.torch import CgInfluence
    from torch.utils.data import DataLoader, TensorDataset

    from audit.data.samples import decode_image
    from audit.images.load_backbone import load_backbone
    from audit.influence.pixels import pixels_to_embedding

    folder = data_set("tiny-imagenet-tables-boats")
    tables = [parquet.read_table(folder / f"{split}.parquet").to_pylist() for split in ("train", "valid")]
    samples = [*tables[0][:707], *tables[1][:96]]
    images = np.stack([np.asarray(decode_image(sample["image"]["bytes"])) for sample in samples])
    stored = torch.from_numpy(images)
    pixels = stored.to(device).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(np.unique([sample["label"] for sample in samples], return_inverse=True)[1]).to(device)
    backbones = {
        name: load_backbone(weights="bundled", device=device, precision=name) for name in ("float32", "bfloat16")
    }
    body = pixels_to_embedding(backbones["float32"])
    found: dict[str, Any] = {}

    def embedding(precision: str) -> Callable[[], None]:
        def job() -> None:
            parts = [backbones[precision].embed(part) for part in stored.split(AuditConfig().batch_size)]
            found[precision] = torch.cat(parts).to(device).double()

        return job

    def plain_pass() -> None:
        with torch.inference_mode():
            for part in pixels.split(128):
                body(part)

    embedding("float32")()
    x = found["float32"]
    head = train_head(x[:707], labels[:707], x[707:], labels[707:], 2, l2=RECIPE_L2)
    embedded = Labelled.of(x, labels, 2)

    def ours() -> None:
        found["ours"] = audited_influence(head, embedded, 707).values[:707]

    network = torch.nn.Sequential(body, _Features(head), torch.nn.Linear(513, 2, bias=False)).to(device)
    network[2].weight = torch.nn.Parameter(head.weight.float())

    def theirs() -> None:
        batches = DataLoader(TensorDataset(pixels[:707], labels[:707]), batch_size=707)
        peer = CgInfluence(
            network, functional.cross_entropy, RECIPE_L2, rtol=1e-2, maxiter=500, solve_simultaneously=True
        )
        factors = peer.fit(batches).influence_factors(pixels[707:], labels[707:]).mean(0, keepdim=True)
        parts = [
            peer.influences_from_factors(factors, pixels[rows], labels[rows])[0]
            for rows in torch.arange(707).split(101)
        ]
        found["theirs"] = torch.cat(parts)

    passes = _counted_passes(network, theirs)
    jobs: dict[str, Callable[[], Any]] = {f"embedding {name}": embedding(name) for name in backbones}
    seconds = medians(jobs | {"plain pass": plain_pass, "ours": ours, "theirs": theirs})
    exact = found["ours"]
    coarse = found["bfloat16"]
    rounded = train_head(coarse[:707], labels[:707], coarse[707:], labels[707:], 2, l2=RECIPE_L2)
    rounded_influence = audited_influence(rounded, Labelled.of(coarse, labels, 2), 707).values[:707]
    flop = _convolution_flop(backbones["float32"].module, device) * len(pixels)
    return {
        "ours_s": seconds["ours"],
        "embedding_s": {name: seconds[f"embedding {name}"] for name in backbones},
        "plain_pass_s": seconds["plain pass"],
        "peer_s": seconds["theirs"],
        "times_faster": seconds["theirs"] / seconds["ours"],
        "times_faster_embedding_included": {
            name: seconds["theirs"] / (seconds["ours"] + seconds[f"embedding {name}"]) for name in backbones
        },
        "relative_difference": float((exact - found["theirs"]).norm() / exact.norm()),
        "bfloat16_rank_correlation": float(spearmanr(rounded_influence.cpu(), exact.cpu()).statistic),
        "peer_settings": f"L2 {RECIPE_L2}, rtol 1e-2, which pyDVL squares: it stops at a residual of 1e-4 ‖b‖",
        "profile": {
            "peer's forward passes of a batch": passes,
            "peer in plain passes": seconds["theirs"] / seconds["plain pass"],
            "convolutions, GFLOP": flop / 1e9,
            **{f"embedding {name}, GFLOP/s": flop / seconds[f"embedding {name}"] / 1e9 for name in backbones},
            **{f"matrix product {name}, GFLOP/s": _peak(getattr(torch, name), device) / 1e9 for name in backbones},
        },
        "target": "700, and 15 with the embedding",
    }


def _convolution_flop(network: torch.nn.Module, device: str) -> float:
    """Of the convolutions for one image of 64 × 64."""
    total = 0.0

    def count(module: torch.nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, torch.nn.Conv2d)
        total += 2.0 * output[0].numel() * module.weight[0].numel()

    handles = [part.register_forward_hook(count) for part in network.modules() if isinstance(part, torch.nn.Conv2d)]
    with torch.no_grad():
        network(torch.zeros(1, 3, 64, 64, device=device))
    for handle in handles:
        handle.remove()
    return total


def _peak(dtype: torch.dtype, device: str) -> float:
    """FLOP a second of a product of two square matrices, large enough for the device."""
    side = 2048 if device == "cpu" else 8192
    matrix = torch.randn(side, side, device=device).to(dtype)
    return 2 * side**3 / medians({"product": lambda: matrix @ matrix}, 7)["product"]


def _counted_passes(network: torch.nn.Module, job: Callable[[], Any]) -> int:
    """How many times a job passes a batch through the network."""
    passes = []
    handle = network.register_forward_hook(lambda *_: passes.append(1))
    job()
    handle.remove()
    return len(passes)


class _Features(torch.nn.Module):
    """A head's features, in single precision."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.standardiser = Standardiser(head.standardiser.mean.float(), head.standardiser.scale.float())

    def forward(self, x: Tensor) -> Tensor:
        return self.standardiser(x)


def direct(device: str = "cpu") -> dict[str, Any]:
    """Embeddings 5000 × 512, 10 classes, 500 validation samples, averaged, against pyDVL's DirectInfluence."""
    from pydvl.influence.torch import DirectInfluence
    from torch.utils.data import DataLoader, TensorDataset

    x, labels = made(5500, 512, 10, device=device)
    head = train_head(x[:5000], labels[:5000], x[5000:], labels[5000:], 10, l2=1e-2)
    samples = Labelled.of(x, labels, 10)
    z, z_validation = head.features(x[:5000]), head.features(x[5000:])
    model = torch.nn.Linear(513, 10, bias=False).to(device).double()
    model.weight = torch.nn.Parameter(head.weight.clone())
    found: dict[str, Tensor] = {}

    def ours() -> None:
        found["ours"] = audited_influence(head, samples, 5000).values[:5000]

    def theirs() -> None:
        batches = DataLoader(TensorDataset(z, labels[:5000]), batch_size=500)
        fitted = DirectInfluence(model, functional.cross_entropy, 1e-2).fit(batches)
        factors = fitted.influence_factors(z_validation, labels[5000:]).mean(0, keepdim=True)
        parts = [fitted.influences_from_factors(factors, *batch)[0] for batch in batches]
        found["theirs"] = torch.cat(parts)

    seconds = medians({"ours": ours, "theirs": theirs})
    error = float((found["ours"] - found["theirs"]).norm() / found["theirs"].norm())
    return {
        "ours_s": seconds["ours"],
        "peer_s": seconds["theirs"],
        "times_faster": seconds["theirs"] / seconds["ours"],
        "relative_difference": error,
        "target": 30,
    }


def leave_one_out(device: str = "cpu") -> dict[str, Any]:
    """Leave-one-out probabilities of 10 000 × 512, 10 classes, against 5-fold cross-validation, and 100 real refits."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    n, classes, l2 = 10_000, 10, 1e-2
    x, labels = made(n, 512, classes, device=device)
    standardiser = Standardiser.fit(x)
    z, targets = standardiser(x), one_hot(labels, classes, x.dtype)
    folds = (torch.randperm(n, generator=torch.Generator().manual_seed(0)) % 5).to(device)
    weight, _ = fit_softmax(z, targets, l2)
    found: dict[str, Tensor] = {}

    def closed_form(method: str) -> Callable[[], None]:
        def job() -> None:
            p = probabilities(z, weight)
            hessian = HeadHessian(z, p, l2)
            left_out = closed_forms(hessian, z, z @ weight.T, residuals(p, targets), method=method)
            found[method] = left_out.probabilities

        return job

    def cross_validation() -> None:
        out = torch.empty_like(targets)
        for fold in range(5):
            kept = folds != fold
            held, _ = fit_softmax(z[kept], targets[kept], l2)
            out[~kept] = (z[~kept] @ held.T).softmax(1)
        found["5 folds"] = out

    def scikit() -> None:
        peer = LogisticRegression(C=1 / (l2 * n * 0.8), fit_intercept=False, max_iter=1000)
        found["scikit-learn, 5 folds"] = torch.from_numpy(
            cross_val_predict(peer, z.cpu().numpy(), labels.cpu().numpy(), cv=5, method="predict_proba")
        ).to(device)

    def whole_fit() -> None:
        fit_softmax(z, targets, l2)

    jobs = {"exact": closed_form("exact"), "kfac": closed_form("kfac"), "5 folds": cross_validation, "fit": whole_fit}
    if device == "cpu":
        jobs["scikit-learn, 5 folds"] = scikit
    seconds = medians(jobs)
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(1))[:100].to(device)
    refits = []
    for row in rows.tolist():
        weights = torch.ones_like(z[:, 0])
        weights[row] = 0
        refit, _ = fit_softmax(z, targets, l2, weights=weights, initial=weight, tolerance=1e-6)
        refits.append((z[row] @ refit.T).softmax(0))
    real = torch.stack(refits)
    errors = {name: float((p[rows] - real).abs().amax(1).mean()) for name, p in found.items()}
    return {
        "seconds": seconds,
        "mean_error_against_100_refits": errors,
        "times_faster_than_5_folds": {m: seconds["5 folds"] / seconds[m] for m in ("exact", "kfac")},
        "target": 5,
    }


SCALE = """
import audit, json, sys, time, torch
sys.path.insert(0, {root!r})
from tests.benchmarks.influence import audited_influence, made
from tests.peak_memory import peak_mib
from audit.head.fit import Head, fit_softmax
from audit.head.standardise import Standardiser
from audit.influence.engine import Labelled
n = {n}
x, labels = made(n + 1000, 512, 100, dtype=torch.float32)
samples = Labelled.of(x, labels, 100)
standardiser = Standardiser.fit(x[:n])
began = time.perf_counter()
weight, norm = fit_softmax(standardiser(x[:n]), samples.targets[:n], 1e-2)
head_s = time.perf_counter() - began
began = time.perf_counter()
found = audited_influence(Head(weight, standardiser, 1e-2, "newton", norm), samples, n)
influence_s = time.perf_counter() - began
print(json.dumps(dict(n=n, head_s=head_s, influence_s=influence_s, gradient_norm=norm, residual=found.residual,
                      peak_gib=peak_mib() / 1024,
                      embeddings_gib=n * 512 * 4 / 2**30)))
"""


def scaling() -> dict[str, Any]:
    """n = 10k → 100k at d = 512, C = 100 in single precision: head and averaged influence, a process for each n."""
    steps: list[dict[str, float]] = []
    for n in SIZES:
        code = SCALE.format(root=str(HERE.parents[1]), n=n)
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        steps.append(json.loads(found.stdout.splitlines()[-1]))
    growth = [later["influence_s"] / earlier["influence_s"] for earlier, later in pairwise(steps)]
    head_growth = [later["head_s"] / earlier["head_s"] for earlier, later in pairwise(steps)]
    return {
        "steps": steps,
        "influence_growth": growth,
        "head_growth": head_growth,
        "target": "time grows ≤ 11× a step; peak ≤ embeddings on disk + 2 GiB",
    }


LINES: dict[str, Callable[[], dict[str, Any]]] = {
    "recipe": recipe,
    "direct": direct,
    "leave-one-out": leave_one_out,
    "scaling": scaling,
}


LIMITS = {
    "recipe": "With the embedding, the limit is one pass of the images through the backbone: all that pyDVL does takes "
    "as long as the plain passes in the profile, and we cannot do with less than one. In float32 its convolutions "
    "already run faster than a product of two large matrices does here, so that this line is out of reach; in bfloat16 "
    "(`--precision bfloat16`, for processors that multiply it natively) it is not. The ratio depends on the L2 and the "
    "tolerance that pyDVL is given, too.",
    "leave-one-out": "The line is reached by 'kfac', which is what the audit uses: faster than the folds, and nearer "
    "to real refits than they are. 'exact' is nearer still and slower than folds: its leverages and the factor before "
    "them cost about 45 · 2 · n · 2 D² · 5/8 = 3e11 FLOP, as much as 1400 products with the Hessian, where a fit takes "
    "about 60.",
}


def machine() -> dict[str, Any]:
    found = {}
    for name in ("torch", "numpy", "scikit-learn", "pyDVL"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "system": platform.platform(terse=True),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {"python": platform.python_version(), **found},
    }


def described(where: dict[str, Any]) -> str:
    """The line that says on what machine figures were measured."""
    software = ", ".join(f"{package} {number}" for package, number in where["versions"].items())
    gpu = f"{where['gpu']}, " if where.get("gpu") else ""
    return f"{where['date']}, {gpu}{where['system']}, {where['threads']} threads, {software}"


def table(results: dict[str, Any], lines: dict[str, Callable[[], dict[str, Any]]], limits: dict[str, str]) -> list[str]:
    """Rows of Markdown for all lines that were measured."""
    rows = []
    for name, job in lines.items():
        if name not in results:
            continue
        found = dict(results[name])
        where = found.pop("machine")
        rows += [f"## {name}", "", str(job.__doc__).split("\n")[0], ""]
        rows += ["| figure | value |", "|---|---|"]
        rows += [f"| {figure.replace('_', ' ')} | {_shown(value)} |" for figure, value in found.items()]
        if name in limits:
            rows += ["", limits[name]]
        rows += ["", described(where), ""]
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, list):
        return "; ".join(_shown(part) for part in value)
    return str(value)


def run_lines(
    name: str,
    introduction: list[str],
    lines: dict[str, Callable[[], dict[str, Any]]],
    limits: dict[str, str],
    description: str | None,
) -> None:
    """Measure the lines that are named, all by default, and write them to NAME.json and NAME.md."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("lines", nargs="*", help=", ".join(lines))
    stored = HERE / f"{name}.json"
    results = json.loads(stored.read_text()) if stored.exists() else {}
    for line in parser.parse_args().lines or list(lines):
        print(f"{line} ...", flush=True)
        results[line] = lines[line]() | {"machine": machine()}
        print(json.dumps(results[line], indent=1), flush=True)
        stored.write_text(json.dumps(results, indent=1) + "\n")
        (HERE / f"{name}.md").write_text("\n".join([*introduction, "", *table(results, lines, limits)]).rstrip() + "\n")


INTRODUCTION = [
    "# Influence engine: speed and memory",
    "",
    "Made by `python -m tests.benchmarks.influence`. Ratios are of medians of three, taken in turns in one",
    "process on a machine that other work shared. Between runs they move by a factor of up to two. On a GPU, with",
    "ImageNet's size among it: [gpu.md](gpu.md).",
]

if __name__ == "__main__":
    run_lines("influence", INTRODUCTION, LINES, LIMITS, __doc__)
