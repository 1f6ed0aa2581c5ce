"""Findings beside single labels: copies that were changed, leaks, bad pictures, pictures that fit no class."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps
from sklearn.datasets import load_digits

import audit
from audit.errors import InputError
from audit.findings import Audited, Check, Finding, Kind, neighbours, register, unregister
from audit.findings.bad_pictures import find as find_bad
from audit.findings.dataset import find as find_faults
from audit.findings.detail import detail
from audit.findings.near_duplicates import groups_of, precision_by_margin
from audit.findings.off_topic import COLUMN
from audit.findings.registry import check_looked_for
from audit.images.traits import Traits, traits_of
from audit.summary.surroundings import FailedStage
from integrations.cli.batch import exit_code_of_audit
from integrations.cli.exit_codes import ExitCode
from reports.html import render_report
from reports.limit import Limit
from tests.made_pictures import encoded, photograph

ORIGINALS = 60


def squeezed(picture: Image.Image) -> Image.Image:
    return picture.resize((40, 40), Image.Resampling.BICUBIC)


CHANGES = {
    "cropped": lambda picture: picture.crop((4, 2, 60, 58)),
    "resized": squeezed,
    "recompressed": lambda picture: picture,
    "mirrored": ImageOps.mirror,
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.2),
    "darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.8),
}
BAD = {
    "dark": lambda picture: Image.eval(picture, lambda shade: shade // 5),
    "bright": lambda picture: Image.eval(picture, lambda shade: 246 + shade // 40),
    "low-contrast": lambda picture: Image.eval(picture, lambda shade: 120 + shade // 30),
    "blurred": lambda picture: picture.filter(ImageFilter.GaussianBlur(8)),
    "low-information": lambda picture: Image.new("RGB", picture.size, (90, 140, 60)),
    "odd-aspect": lambda picture: picture.resize((96, 20)),
    "odd-size": lambda picture: picture.resize((256, 256)),
    "grey": lambda picture: picture.convert("L").convert("RGB"),
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> audit.AuditResult:
    """Sixty pictures; a changed copy in validation and one with another label of six of them; eight bad ones."""
    pictures = [photograph(seed, seed % 2) for seed in range(ORIGINALS)]
    names = [f"picture-{seed}" for seed in range(ORIGINALS)]
    labels = ["discs" if seed % 2 else "stripes" for seed in range(ORIGINALS)]
    splits = ["validation" if seed >= ORIGINALS - 12 else "train" for seed in range(ORIGINALS)]
    for seed, (change, make) in enumerate(CHANGES.items()):
        pictures += [make(pictures[seed]), make(pictures[seed + 10])]
        names += [f"{change}-{seed}", f"{change}-other-label-{seed + 10}"]
        labels += [labels[seed], labels[seed + 11]]
        splits += ["validation", "train"]
    for seed, (fault, make) in enumerate(BAD.items(), 100):
        pictures.append(make(photograph(seed, seed % 2)))
        names.append(fault)
        labels.append("discs" if seed % 2 else "stripes")
        splits.append("train")
    contents = [
        encoded(picture, "JPEG", quality=40) if "recom" in name else encoded(picture)
        for picture, name in zip(pictures, names, strict=True)
    ]
    folder = tmp_path_factory.mktemp("cache")
    config = audit.AuditConfig(weights="bundled", device="cpu", use_splits=True, cache_dir=str(folder))
    result = audit.audit_images(audit.Samples(names, contents, labels, splits), config)
    assert not result.summary.failed_stages
    return result


def members(result: audit.AuditResult, kind: str) -> list[set[str]]:
    table = result.findings[result.findings["kind"] == kind]
    return [set(ids) for _, ids in table.groupby("finding")["id"]]


def test_each_changed_copy_in_validation_is_a_leak_with_its_effect_on_the_head(faulty: audit.AuditResult) -> None:
    expected = [{f"{change}-{seed}", f"picture-{seed}"} for seed, change in enumerate(CHANGES)]
    found = members(faulty, "near-leak")
    assert [group for group in expected if group not in found] == []
    (leak,) = (leak for leak in faulty.summary.leaks if leak.split == "validation")
    assert leak.leaked >= len(expected)
    assert leak.samples >= 12
    assert leak.accuracy_without is not None
    worth = faulty.findings[faulty.findings["kind"] == "near-leak"]["worth"].iloc[0]
    assert "% of validation" in worth
    assert "without leaked samples" in worth


def test_a_changed_copy_with_another_label_proves_a_mistake(faulty: audit.AuditResult) -> None:
    expected = [{f"{change}-other-label-{seed}", f"picture-{seed}"} for seed, change in enumerate(CHANGES, 10)]
    assert [group for group in expected if group not in members(faulty, "near-duplicate-labels")] == []


def test_pictures_that_only_look_alike_are_no_copies(faulty: audit.AuditResult) -> None:
    pairs = members(faulty, "near-duplicates") + members(faulty, "near-duplicate-labels")
    numbers = [{name.rsplit("-", 1)[-1] for name in group} for group in pairs]
    assert all(len(group) == 1 for group in numbers)


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_picture_is_found(faulty: audit.AuditResult, fault: str) -> None:
    found = set().union(*members(faulty, fault))
    assert fault in found
    assert not {name for name in found if name.startswith("picture-")}


def test_pictures_that_are_all_soft_are_not_blurred() -> None:
    soft = [photograph(seed, 0).filter(ImageFilter.GaussianBlur(3)) for seed in range(40)]
    traits = Traits.of_rows(np.stack([traits_of(picture) for picture in soft]))
    assert [finding.kind for finding in find_bad(dataset(np.arange(40) % 2, traits=traits))] == []


def test_the_report_shows_the_pictures_side_by_side(faulty: audit.AuditResult, tmp_path: Path) -> None:
    page = render_report(audit.AuditResult.load(faulty.save(tmp_path / "result")))
    assert "Near-duplicates across splits" in page
    assert page.count('class="found-pictures"') >= 20
    assert page.count('<img src="data:image/webp;base64,') >= 30
    assert "have a copy in the training split. The head predicts" in page


def test_scores_say_how_likely_a_picture_fits_no_class(faulty: audit.AuditResult) -> None:
    assert faulty.scores["fits_no_class"].between(0, 1).all()
    either = 1 - (1 - faulty.scores["suspicion"]) * (1 - faulty.scores["fits_no_class"])
    np.testing.assert_allclose(faulty.scores["wrong_for_any_reason"], either)


def test_a_gate_takes_checks_and_kinds_by_name(faulty: audit.AuditResult) -> None:
    summary = faulty.summary
    assert [found.kind for found in Limit.of(None, "low", "leaks").unaccepted(summary)] == ["near-leak"]
    assert [found.kind for found in Limit.of(None, "low", "dark, grey").unaccepted(summary)] == ["dark", "grey"]
    assert Limit.of(None, "low", "duplicate-labels").unaccepted(summary) == ()
    with pytest.raises(InputError, match=r"--fail-on names 'leak', which is no check; did you mean 'leaks'\?"):
        Limit.of(None, "low", "leak")
    drawn = replace(summary, config=summary.config.replace(use_splits=False))
    assert Limit.of(None, "low", "split-leak").unaccepted(drawn) == ()


def test_the_command_ends_with_code_5_where_the_gate_finds_something(
    faulty: audit.AuditResult, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of_audit(faulty.summary, Limit.of(None, "low", "leaks")) == ExitCode.FOUND == 5
    assert re.match(r"near-duplicates across splits: \d+, and --fail-on allows none; ", capsys.readouterr().err)
    assert exit_code_of_audit(faulty.summary, Limit()) == ExitCode.DONE
    unmade = replace(faulty.summary, findings=(), failed_stages=(FailedStage(stage="findings", reason="No disk."),))
    assert exit_code_of_audit(unmade, Limit.of(None, "low", "leaks")) == ExitCode.FAILED
    assert "--fail-on cannot judge this audit: No disk." in capsys.readouterr().err
    with pytest.raises(InputError, match="add 'leaks' to --findings"):
        check_looked_for(["near-leak"], "duplicates")


def test_checks_are_chosen_by_name() -> None:
    with pytest.raises(InputError, match=r"findings names 'duplicate', which is no check; did you mean 'duplicates'\?"):
        audit.AuditConfig(findings="duplicate")
    with pytest.raises(InputError, match="findings is empty"):
        audit.AuditConfig(findings=" ")
    assert audit.AuditConfig(findings="leaks, dark").findings == "leaks, dark"


def normal(count: int = 150, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings about the centres of classes, and labels."""
    random = np.random.default_rng(seed)
    numbers = np.arange(count) % classes
    centres = 4 * random.standard_normal((classes, 16))
    return centres[numbers] + random.standard_normal((count, 16)), np.array([f"class {n}" for n in numbers])


def test_rows_that_are_nearly_the_same_are_found_without_pictures() -> None:
    x, labels = normal()
    x[[5, 8]] = x[[2, 11]] * 1.0001
    result = audit.audit_embeddings(x, labels, config=audit.AuditConfig(findings="duplicates"))
    assert members(result, "near-duplicates") == [{"2", "5"}, {"8", "11"}]


def test_rows_far_from_every_class_rank_first() -> None:
    x, labels = normal(240)
    random = np.random.default_rng(1)
    strange = np.arange(0, 240, 12)
    x[strange] = 4 * random.standard_normal((len(strange), 16))
    result = audit.audit_embeddings(x, labels, config=audit.AuditConfig(findings="off-topic"))
    order = np.argsort(-result.scores[COLUMN].to_numpy())
    assert len(np.intersect1d(order[: len(strange)], strange)) >= 0.7 * len(strange)
    assert {int(name) for group in members(result, "fits-no-class") for name in group} <= set(strange.tolist())


def test_none_looks_for_nothing_and_costs_no_columns() -> None:
    x, labels = normal()
    result = audit.audit_embeddings(x, labels, config=audit.AuditConfig(findings="none"))
    assert COLUMN not in result.scores
    assert "findings" not in result.summary.timings
    assert len(result.findings) == 0


def test_embeddings_of_few_directions_fail_no_check() -> None:
    random = np.random.default_rng(0)
    flat = random.standard_normal((90, 3)) @ random.standard_normal((3, 400))
    labels = np.array(["one", "two"])[np.arange(90) % 2]
    for x in (flat, np.maximum(flat, 0), np.repeat(flat[:30], 3, axis=0)):
        assert audit.audit_embeddings(x, labels).summary.failed_stages == ()


HIGH = Kind(name="high-first", title="High", meaning="The first number is high.", advice="Look at it.")


def test_a_check_of_ones_own_is_made_and_one_that_fails_leaves_the_others() -> None:
    def high(audited: Audited) -> list[Finding]:
        first = audited.x[slice(0, len(audited.ids))][:, 0].numpy()
        return [Finding(kind="high-first", evidence="it is the highest", samples=(int(first.argmax()),))]

    def broken(audited: Audited) -> list[Finding]:
        raise RuntimeError("no such file")

    x, labels = normal()
    register(Check(name="broken", kinds=(replace(HIGH, name="broken-kind"),), find=broken))
    register(Check(name="heights", kinds=(HIGH,), find=high))
    try:
        with pytest.raises(InputError, match="there is a check 'heights' already"):
            register(Check(name="heights", kinds=(), find=high))
        result = audit.audit_embeddings(x, labels, config=audit.AuditConfig(findings="broken,heights"))
        assert members(result, "high-first") == [{str(x[:, 0].argmax())}]
        assert [(kind.kind, kind.title) for kind in result.summary.findings] == [("high-first", "High")]
        (failure,) = result.summary.failed_stages
        assert failure.stage == "findings"
        assert "findings about broken" in failure.reason
        assert "no such file" in failure.reason
    finally:
        unregister("heights")
        unregister("broken")


def test_an_approximate_search_finds_the_copies_that_an_exact_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [photograph(seed, seed % 2) for seed in range(80)]
    pictures += [ImageOps.mirror(picture) for picture in pictures[:10]]
    audited = audited_pictures(pictures)
    audited.x[80:] = audited.x[:10] + 1
    exact = sorted(tuple(group) for group in groups_of(audited).members)
    assert exact == [(row, row + 80) for row in range(10)]
    monkeypatch.setattr(neighbours, "SETTINGS", replace(neighbours.SETTINGS, most_exact=50))
    assert sorted(tuple(group) for group in groups_of(audited).members) == exact


def enlarged_digits(side: int, how: Image.Resampling) -> list[Image.Image]:
    """Scikit-learn's ones, of 8 x 8 pixels, stored larger, and every fourth one a second time, as a strong JPEG."""
    table = load_digits()
    ones = [Image.fromarray((15 * pixels).astype(np.uint8)) for pixels in table.images[table.target == 1]]
    ones = [picture.resize((side, side), how).convert("RGB") for picture in ones]
    return ones + [Image.open(io.BytesIO(encoded(picture, "JPEG", quality=80))).convert("RGB") for picture in ones[::4]]


def audited_pictures(pictures: list[Image.Image]) -> Audited:
    """Pictures with their shades as embeddings, each of another content."""
    traits = Traits.of_rows(np.stack([traits_of(picture) for picture in pictures]))
    n = len(pictures)
    return Audited(
        ids=[str(row) for row in range(n)],
        labels=np.zeros(n, dtype=int),
        classes=np.zeros(1, dtype=int),
        split=np.full(n, "train", dtype=object),
        keys=np.stack([np.arange(n, dtype=np.uint64)] * 2, 1).view(np.uint8),
        every_label=np.zeros(1, dtype=int),
        x=torch.from_numpy(traits.grey.reshape(n, -1).astype(np.float64)),
        traits=traits,
    )


@pytest.mark.parametrize("how", [Image.Resampling.NEAREST, Image.Resampling.BICUBIC], ids=["blocks", "smooth"])
@pytest.mark.parametrize("side", [28, 64])
def test_different_digits_are_no_copies_however_large_they_are_stored(side: int, how: Image.Resampling) -> None:
    pictures = enlarged_digits(side, how)
    ones = int((load_digits().target == 1).sum())
    copies = [(row, ones + number) for number, row in enumerate(range(0, ones, 4))]
    found = sorted(tuple(group.tolist()) for group in groups_of(audited_pictures(pictures)).members)
    assert set(found) <= set(copies)
    assert len(found) >= 0.9 * len(copies)


def test_short_strokes_on_empty_pages_are_no_copies() -> None:
    random = np.random.default_rng(0)
    pages = []
    for _ in range(60):
        page = Image.new("RGB", (64, 64), "white")
        left, top = random.integers(20, 36, 2)
        ImageDraw.Draw(page).line((left, top, left + random.integers(-2, 3), top + random.integers(10, 15)), "black", 3)
        pages.append(page)
    photographs = [photograph(seed, seed % 2) for seed in range(60)]
    copied = [ImageEnhance.Brightness(photographs[0]).enhance(1.1)]
    groups = groups_of(audited_pictures([*pages, *photographs, *copied]))
    assert [group.tolist() for group in groups.members if group.max() >= 60] == [[60, 120]]


def test_detail_follows_what_a_picture_holds_and_not_its_size() -> None:
    sharp = photograph(0, 0)
    small = sharp.resize((8, 8), Image.Resampling.BOX)
    page = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(page).line((30, 20, 31, 34), "black", 3)
    larger = [small.resize((side, side), Image.Resampling.BICUBIC) for side in (28, 64, 200)]
    of = detail(Traits.of_rows(np.stack([traits_of(picture) for picture in (sharp, page, *larger)])).grey)
    assert of[0] > 0.6
    assert of[1] < 0.2
    assert of[2:].max() < 0.3


def test_the_precision_of_copies_follows_from_the_margin_to_other_pairs() -> None:
    random = np.random.default_rng(0)
    others = 8 * random.random(20_000) ** (1 / 4)  # their number rises with the fourth power of the doubt
    wrong = int((others <= 1).sum())
    copies = random.random(400)
    precision = precision_by_margin(np.concatenate([others, copies]))
    assert precision is not None
    true = 400 / (400 + wrong)
    assert precision.low <= true <= precision.high
    assert precision.low > true - 0.05
    assert precision_by_margin(others[others > 1]) is None


def dataset(numbers: np.ndarray, **known: object) -> Audited:
    return Audited(
        ids=[str(row) for row in range(len(numbers))],
        labels=numbers,
        classes=np.unique(numbers),
        split=np.full(len(numbers), "train", dtype=object),
        keys=np.zeros((len(numbers), 16), dtype=np.uint8),
        every_label=np.unique(numbers),
        **known,  # type: ignore[arg-type]
    )


def kinds_of(audited: Audited) -> list[str]:
    return [finding.kind for finding in find_faults(audited)]


def test_small_and_dominant_classes_are_found() -> None:
    assert kinds_of(dataset(np.repeat([0, 1, 2], [300, 20, 4]))) == ["small-class", "imbalance"]
    assert kinds_of(dataset(np.repeat([0, 1, 2], [30, 30, 20]))) == []


def test_classes_that_nothing_tells_apart_are_found() -> None:
    random = np.random.default_rng(0)
    numbers = np.arange(300) % 3
    prior = 0.1 + 0.8 * np.eye(3)[numbers]
    prior[numbers < 2, :2] = random.random((200, 2))
    found = list(find_faults(dataset(numbers, prior=prior)))
    assert [(finding.kind, finding.evidence[:7]) for finding in found] == [("classes-alike", "0 and 1")]


def test_a_class_in_two_clusters_is_found_with_the_smaller_one() -> None:
    x, labels = normal(600, classes=5)
    numbers = np.array([int(label[-1]) for label in labels])
    assert [found.kind for found in find_faults(dataset(numbers, x=torch.from_numpy(x)))] == []
    numbers[(numbers == 4) & (np.arange(600) % 2 == 0)] = 3  # class 3 has half of another class, too
    (found,) = find_faults(dataset(numbers, x=torch.from_numpy(x)))
    assert (found.kind, found.classes) == ("class-in-two", ("3",))
    smaller = np.flatnonzero((numbers == 3) & (labels == "class 4"))
    assert set(found.samples) == set(smaller.tolist())


def test_a_split_of_other_pictures_is_found() -> None:
    random = np.random.default_rng(0)
    x, numbers = torch.from_numpy(random.standard_normal((400, 8))), random.integers(0, 2, 400)
    own = np.repeat(np.array(["train", "test"], dtype=object), 200)
    assert kinds_of(dataset(numbers, x=x, own_split=own)) == []
    x[200:, 0] += 2
    assert kinds_of(dataset(numbers, x=x, own_split=own)) == ["split-shift"]


def test_labels_that_follow_from_files_or_order_are_found() -> None:
    random = np.random.default_rng(0)
    numbers = random.integers(0, 2, 400)
    files: list[str | None] = [f"{row}.{'png' if number else 'jpg'}" for row, number in enumerate(numbers)]
    assert kinds_of(dataset(numbers, files=[f"{row}.png" for row in range(400)])) == []
    assert kinds_of(dataset(numbers, files=files)) == ["shortcut"]
    measures = np.zeros((400, 9), dtype=np.float32)
    measures[:, 7:] = np.where(numbers == 1, 640, 480)[:, None]
    grey, colour = (np.zeros((400, *shape), dtype=np.uint8) for shape in ((24, 24), (8, 8, 3)))
    sized = dataset(numbers, traits=Traits(grey, colour, measures))
    assert "size and shape" in next(iter(find_faults(sized))).evidence
    assert kinds_of(dataset(np.arange(400) // 8 % 2)) == ["shortcut"]
    assert kinds_of(dataset(np.arange(400) // 200)) == []
