"""What the command checks and prints without any work: options, variables, progress, and where a result is."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from audit.config import AuditConfig
from audit.errors import InputError
from audit.images.torchvision_backbones import backbone_names
from audit.progress import Step
from audit.result import AuditResult
from integrations.cli.early_checks import check_computing, check_environment, torchvision_names, with_flags
from integrations.cli.exit_codes import one_line
from integrations.cli.explain import explain
from integrations.cli.result_place import dataset_of, result_folder
from integrations.cli.terminal import StageDisplay, Verbosity
from tests.one_line import one_line as of_error


def test_the_backbones_are_known_without_torchvision() -> None:
    assert torchvision_names() == set(backbone_names()) | (torchvision_names() - set(backbone_names()))
    assert set(backbone_names()) <= torchvision_names()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "resnt18"}, "backbone 'resnt18' is unknown; did you mean 'resnet18'?"),
        ({"weights": "bundeld"}, "weights 'bundeld' do not exist; did you mean 'bundled'?"),
        ({"weights": "nowhere.pth"}, "weights 'nowhere.pth' do not exist; it takes auto"),
        ({"backbone": "resnet50", "weights": "bundled"}, "weights 'bundled' are a resnet18, not resnet50"),
        ({"weights": "."}, "weights '.' are a folder"),
        ({"device": "gpu"}, "device 'gpu' is unknown; it takes auto, cpu, cuda or cuda:N"),
        ({"device": "cuda:x"}, "device 'cuda:x' is unknown"),
    ],
)
def test_a_backbone_weights_or_device_that_cannot_be_is_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as error:
        check_computing(AuditConfig(**settings), True)  # type: ignore[arg-type]
    assert message in of_error(error.value)
    assert error.value.setting in settings


def test_what_may_be_available_is_not_refused() -> None:
    for backbone, weights in (
        *(("resnet18", weights) for weights in ("auto", "imagenet", "bundled", "IMAGENET1K_V1")),
        ("timm:resnet10t", "pretrained"),
        ("zoo:clip-vit-base32-torch", "auto"),
        ("efficientnet_lite2", "auto"),
    ):
        check_computing(AuditConfig(backbone=backbone, weights=weights, device="cpu"), True)
    check_computing(AuditConfig(backbone="none"), False)


def test_a_misspelt_variable_is_named_and_another_one_is_only_noted() -> None:
    options = {"seed", "label_field", "fail_above"}
    good = ("INFLUENCE_AUDIT_SEED", "INFLUENCE_AUDIT_CACHE", "HOME", "INFLUENCE_AUDIT_DATA", "OTHER")
    assert check_environment(options, good) == []
    assert check_environment(options, (*good, "INFLUENCE_AUDIT_COLOUR")) == ["INFLUENCE_AUDIT_COLOUR"]
    for typo, meant in (("SEDE", "SEED"), ("LABELFIELD", "LABEL_FIELD"), ("fail_abov", "FAIL_ABOVE")):
        with pytest.raises(InputError, match=f"_{typo} is no option; did you mean INFLUENCE_AUDIT_{meant}"):
            check_environment(options, (f"INFLUENCE_AUDIT_{typo}",))


@pytest.mark.parametrize(
    ("message", "in_flags"),
    [
        ("inject is 0.7; it takes a share", "--inject is 0.7; it takes a share"),
        (
            "train_size + validation_size + test_size is 1.1; it takes a sum of 1",
            "--train-size + --validation-size + --test-size is 1.1; it takes a sum of 1",
        ),
        (
            "set only one of threshold, target_precision and max_review (got threshold and max_review)",
            "set only one of --threshold, --target-precision and --max-review (got --threshold and --max-review)",
        ),
        (
            "damping is 0.0; a number above 0 with trainer 'adam'",
            "--damping is 0.0; a number above 0 with trainer 'adam'",
        ),
        ("backbone 'a/backbone.pth' is unknown", "--backbone 'a/backbone.pth' is unknown"),
    ],
)
def test_a_mistake_calls_settings_by_their_flags(message: str, in_flags: str) -> None:
    assert with_flags(message, list(AuditConfig().to_dict())) == in_flags


def test_no_error_is_empty() -> None:
    for error in (InputError(""), ValueError(), InputError("\n\n")):
        assert len(one_line(error).removeprefix("error: ").removeprefix("failed: ")) > 8


def test_each_stage_says_how_much_it_has_done_and_how_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1_000))
    monkeypatch.setattr("time.perf_counter", lambda: 20.0 * next(clock))
    texts = {}
    for quiet in (False, True):
        stream = io.StringIO()
        with StageDisplay(Console(file=stream, width=100), Verbosity(quiet=quiet)) as display:
            for step in (
                Step("embedding"),
                Step("embedding", 100, 400, "images"),
                Step("embedding", 400, 400, "images"),
                Step("embedding", 1, 1),
                Step("head"),
                Step("head", note="a note"),
                Step("head", 1, 1),
            ):
                display(step)
        texts[quiet] = stream.getvalue()
    assert "embedding images: 400 of 400 images, 10 images/s\n" in texts[False]
    assert "(400 of 400 images, " in texts[False]
    assert "training the head: " in texts[False]
    assert "(400 samples, " in texts[False]
    assert texts[False].count("samples/s") == 1
    assert "note a note" in texts[False]
    assert texts[True] == ""


def test_a_result_is_found_by_its_folder_or_by_the_datasets_name(
    plain: AuditResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INFLUENCE_AUDIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("integrations.cli.result_place.problem_of", lambda extra: "not asked")
    saved = plain.save(tmp_path / "audit-results" / "my-pictures" / "audit")
    for text in ("audit-results/my-pictures/audit", "audit-results/my-pictures", "audit-results", "my pictures"):
        assert result_folder(text).resolve() == saved
    assert result_folder("fiftyone:my pictures").resolve() == saved
    assert result_folder("my pictures/audit").resolve() == saved
    plain.save(tmp_path / "home" / "results" / "my-pictures" / "second")
    plain.save(saved.with_name("third"))
    with pytest.raises(InputError, match="'my pictures' has 3 results; give one of "):
        result_folder("my pictures")
    with pytest.raises(InputError, match="'nowhere' holds no complete audit result: it is no folder"):
        result_folder("nowhere")
    assert dataset_of("anything") == dataset_of("fiftyone:anything") == "anything"
    assert dataset_of(str(saved)) == "influence-audit-demo"


def test_a_folder_of_images_with_the_datasets_name_does_not_hide_its_result(
    plain: AuditResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("integrations.cli.result_place.problem_of", lambda extra: "not asked")
    (tmp_path / "pictures" / "cat").mkdir(parents=True)
    assert dataset_of("pictures") == "pictures"
    assert result_folder("pictures") == Path("pictures")  # and reading it says that it holds no result
    saved = plain.save(tmp_path / "audit-results" / "pictures" / "audit")
    assert result_folder("pictures").resolve() == saved
    assert result_folder("./pictures/cat") == Path("pictures/cat")


@pytest.mark.parametrize("sample", [(), ("some-sample",)])
def test_where_a_matrix_cannot_be_written_is_known_before_the_result_is_read(
    sample: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "result"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    (tmp_path / "notes.npy").write_text("no matrix", encoding="utf-8")

    def read_anyway(path: Path) -> AuditResult:
        raise AssertionError("the result was read")

    monkeypatch.setattr(AuditResult, "load", read_anyway)
    for name, message in (
        ("matrix.csv", "give a name that ends with .npy"),
        ("notes.npy", "exists and is no influence matrix"),
    ):
        with pytest.raises(InputError, match=message):
            explain(str(folder), *sample, matrix=tmp_path / name, quiet=True)
