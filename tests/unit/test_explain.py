"""Why a sample is judged as it is: the samples that help and harm it, those that it harms, and where in its image."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from audit import AuditConfig, AuditResult, audit_embeddings
from audit.data.samples import Samples, decode_image
from audit.errors import InputError
from audit.explain.samples import ResultExplainer
from audit.head.fit import head_from_arrays
from audit.images.backbone import Backbone
from audit.images.embedding import embed
from audit.images.heat_map import heat_map
from audit.images.load_backbone import load_backbone
from audit.influence.engine import Labelled
from audit.influence.pixels import pixels_to_embedding
from reports.galleries import gallery_values
from tests.explained_digits import audited, digit_files
from tests.head_problems import Problem


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return digit_files(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def result(samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    return audited(samples, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def explainer(result: AuditResult, tmp_path_factory: pytest.TempPathFactory) -> ResultExplainer:
    folder = tmp_path_factory.mktemp("result")
    result.save(folder)
    return ResultExplainer(AuditResult.load(folder))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(weights="bundled", device="cpu")


def test_explanations_are_rows_and_columns_of_the_pairwise_matrix(
    samples: Samples, result: AuditResult, explainer: ResultExplainer, backbone: Backbone
) -> None:
    scores = result.scores
    x = torch.from_numpy(embed(samples, backbone, cache_dir=result.summary.config.cache_dir).values).double()
    labels = torch.tensor([int(label == "8") for label in scores["label"]])
    head = head_from_arrays(result.heads["corrupted"], 1e-1)
    train, validation = (np.flatnonzero(scores["split"] == split) for split in ("train", "validation"))
    training = Labelled.of(x[train], labels[train], 2)
    problem = Problem(head, training, Labelled.of(x[validation], labels[validation], 2), labels[train])
    sample = train[np.argmax(scores["suspicion"].to_numpy()[train])]
    one = Labelled.of(x[[sample]], labels[[sample]], 2)

    row = problem.pairwise(one, training)[0]
    mine = scores["label"].iloc[sample]
    for same_class in (False, True):
        table = explainer.explain(scores.index[sample], 4, same_class)
        assert scores.index[sample] not in set(table["neighbour"])
        places = [list(scores.index[train]).index(neighbour) for neighbour in table["neighbour"]]
        assert table["influence"].to_numpy() == pytest.approx(row[places].numpy(), rel=1e-5)
        among = [place for place, at in enumerate(train) if at != sample]
        if same_class:
            among = [place for place in among if scores["label"].iloc[train[place]] == mine]
            assert set(table["label"]) == {mine}
        best = max(among, key=lambda place: float(row[place]))
        assert table[table["kind"] == "helpful"]["neighbour"].iloc[0] == scores.index[train[best]]

    believed = scores["label"].where(~scores["flag"], scores["suggested_label"]).iloc[validation]
    numbers = torch.tensor([int(label == "8") for label in believed])
    column = problem.pairwise(Labelled.of(x[validation], numbers, 2), one)[:, 0]
    harmed = explainer.harms(scores.index[sample], 4)
    assert len(harmed) > 0, "a wrong label harms"
    assert harmed["neighbour"].iloc[0] == scores.index[validation[int(column.argmin())]]
    assert harmed["influence"].to_numpy() == pytest.approx(column.sort().values[: len(harmed)].numpy(), rel=1e-5)
    assert harmed["label"].iloc[0] == believed.iloc[int(column.argmin())]
    with pytest.raises(InputError, match="was not scored"):
        explainer.harms("nobody", 4)


def test_the_kept_solution_gives_the_influence_of_any_sample(
    samples: Samples, result: AuditResult, backbone: Backbone
) -> None:
    x = torch.from_numpy(embed(samples, backbone, cache_dir=result.summary.config.cache_dir).values).double()
    head = head_from_arrays(result.heads["corrupted"], 1e-1)
    labels = torch.tensor([int(label == "8") for label in result.scores["label"]])
    residuals = head.probabilities(x) - torch.nn.functional.one_hot(labels)
    influence = (residuals * (head.features(x) @ torch.from_numpy(result.heads["corrupted"]["solution"]).T)).sum(1)
    train = (result.scores["split"] == "train").to_numpy()
    assert influence.numpy()[train] == pytest.approx(result.scores["influence"].to_numpy()[train], rel=1e-5)


def test_heat_maps_are_drawn_for_the_most_suspicious_training_samples(result: AuditResult) -> None:
    flagged = result.flagged
    drawn = result.thumbnails["heat_map"].dropna()
    assert set(drawn.index) == set(flagged.index[flagged["split"] == "train"][:3])
    assert len(drawn) == 3
    for content in drawn:
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.format == "WEBP"
            assert max(picture.size) == 160
    shown = gallery_values(result)
    drawn_for = [sample for sample in shown.samples if sample.heat_map is not None]
    mapped = {sample.id: shown.thumbnails[sample.heat_map] for sample in drawn_for}
    assert mapped == {sample: base64.b64encode(content).decode() for sample, content in drawn.items()}


def test_the_hot_places_are_those_that_move_the_validation_loss(
    samples: Samples, result: AuditResult, explainer: ResultExplainer, backbone: Backbone
) -> None:
    sample = result.thumbnails["heat_map"].dropna().index[0]
    heat = explainer.heat_map(sample)
    assert heat.shape == (64, 64)
    assert float(heat.max()) == 1.0
    assert float(heat.min()) >= 0.0
    row = list(samples.ids).index(sample)
    pixels = torch.from_numpy(backbone.prepared(decode_image(samples.images[row])).copy())
    pixels = pixels.permute(2, 0, 1)[None] / 255
    head = head_from_arrays(result.heads["corrupted"], 1e-1)
    solution = torch.from_numpy(result.heads["corrupted"]["solution"])
    target = torch.zeros(1, 2, dtype=torch.float64)
    target[0, int(result.scores.at[sample, "label"] == "8")] = 1
    body = pixels_to_embedding(backbone)

    def influence(changed: torch.Tensor) -> float:
        with torch.no_grad():
            z = head.features(body(changed).double())
        residual = (z @ head.weight.T).softmax(1) - target
        return float((residual * (z @ solution.T)).sum())

    order = torch.from_numpy(heat).flatten().argsort()
    generator = torch.Generator().manual_seed(0)
    moved = {}
    for name, places in (("cold", order[:400]), ("hot", order[-400:])):
        differences = []
        for _ in range(8):
            noise = torch.zeros(1, 3, 64 * 64)
            noise[:, :, places] = 0.005 * torch.randn(1, 3, 400, generator=generator)
            differences.append(influence(pixels + noise.view_as(pixels)) - influence(pixels))
        moved[name] = float(np.std(differences))
    assert moved["hot"] > 2 * moved["cold"]


def test_a_heat_map_covers_the_whole_image_though_the_backbone_sees_the_middle(
    samples: Samples, result: AuditResult, backbone: Backbone
) -> None:
    head = head_from_arrays(result.heads["corrupted"], 1e-1)
    image = Image.new("RGB", (128, 64))
    image.paste(decode_image(samples.images[0]).resize((64, 64)), (32, 0))
    heat = heat_map(backbone, head, torch.from_numpy(result.heads["corrupted"]["solution"]), image, 0)
    assert heat.shape == (64, 128)
    assert not heat[:, :32].any()
    assert not heat[:, 96:].any()
    assert float(heat[:, 32:96].max()) == 1.0


def test_what_needs_images_or_the_exact_engine_says_so() -> None:
    x, labels = np.random.default_rng(0).normal(size=(40, 4)), np.arange(40) % 2
    with pytest.raises(InputError, match="heat maps need images"):
        audit_embeddings(x, labels, config=AuditConfig(heat_maps=2))
    with pytest.raises(InputError, match="scope 'model' needs images"):
        audit_embeddings(x, labels, config=AuditConfig(engine="pydvl-cg", scope="model"))
    with pytest.raises(InputError, match="exact cannot take scope 'model': its formulas hold for a head only; these"):
        AuditConfig(scope="model")
    with pytest.raises(InputError, match="pydvl-direct cannot take scope 'model': its matrix"):
        AuditConfig(scope="model", engine="pydvl-direct")
    with pytest.raises(InputError, match="heat_maps is 2; it takes 0, unless the engine is exact"):
        AuditConfig(heat_maps=2, engine="pydvl-cg")
