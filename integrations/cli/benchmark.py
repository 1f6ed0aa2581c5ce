"""The subcommand `benchmark`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit.config import AuditConfig, SettingValue
from audit.errors import InputError
from audit.extras import require
from audit.files.result_folder import refuse_others_files
from integrations.cli.options import Quiet, takes_settings
from integrations.cli.outputs import is_benchmark
from integrations.cli.root import cli, quieten_fiftyone

if TYPE_CHECKING:
    from audit.images.backbone import Backbone
    from audit.progress import ProgressCallback
    from integrations.benchmark import Case, Measurement


@cli.command()
@takes_settings("backbone", "weights", "image_size", "device")
def benchmark(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Sources whose labels are assumed correct, in the form that `run` takes; default: digits."),
    ] = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(help="Noise to inject, KIND:SHARE with KIND uniform or class-pair; may be repeated."),
    ] = None,
    label_column: Annotated[
        list[str] | None,
        typer.Option(help="A column with labels by annotators, to audit against the correct ones; may be repeated."),
    ] = None,
    predictions: Annotated[
        str | None,
        typer.Option(
            help="FILE.npy or FILE.parquet with out-of-sample class predictions of the source, as `run` takes it: the "
            "methods then work on these, instead of on predictions by cross-validation."
        ),
    ] = None,
    imbalance: Annotated[
        float,
        typer.Option(
            help="Class imbalance: keep this many times more samples of the first class than of the last.", min=1.0
        ),
    ] = 1.0,
    seeds: Annotated[str, typer.Option(help="Seeds of noise, folds and splits.")] = "0,1,2",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for measurements.json, table.md and figure.html.")
    ] = Path("audit-benchmark"),
    claims: Annotated[
        bool,
        typer.Option(
            "--claims",
            help="Measure instead whether what the audit states is true: on the labels as they are, with 1 to 30 % "
            "injected mislabels, and on 20 to 500 samples, before and after simulated decisions. Writes claims.md.",
        ),
    ] = False,
    quiet: Quiet = False,
    *,
    settings: dict[str, SettingValue],
) -> None:
    """Compare the audit with cleanlab, FiftyOne Brain and others, on the same embeddings and labels."""
    config = AuditConfig.from_dict(settings)
    named, numbers = sources or ["digits"], _seeds(seeds)
    if claims:
        if noise or label_column or imbalance != 1:
            raise InputError("--claims makes its own cases; leave out --noise, --label-column and --imbalance")
        _measure_claims(named, numbers, output, config, quiet)
        return
    require("benchmark", "`influence-audit benchmark`")
    default = [] if label_column else ["uniform:0.1"]
    noises = [_noise(text) for text in (default if noise is None else noise)]
    if predictions is not None and len(named) > 1:
        raise InputError("--predictions are of one source; name one")
    _compare(_Comparison(named, noises, label_column or [], numbers, imbalance, predictions), output, config, quiet)


@dataclass(frozen=True)
class _Comparison:
    """What the methods are compared on. The attributes are the options of the command."""

    sources: list[str]
    noises: list[tuple[str, float]]
    label_columns: list[str]
    seeds: list[int]
    imbalance: float
    predictions: str | None

    def cases(self, backbone: Backbone, progress: ProgressCallback) -> list[Case]:
        """The labels with mistakes of all sources, which are embedded for it."""
        from integrations.benchmark import source_cases

        cases: list[Case] = []
        for source in self.sources:
            cases += source_cases(
                source,
                backbone,
                self.noises,
                self.label_columns,
                self.seeds,
                self.imbalance,
                progress,
                self.predictions,
            )
        return cases


def _compare(comparison: _Comparison, output: Path, config: AuditConfig, quiet: bool) -> None:
    """Compare the methods; writes table, figure and measurements, and prints the best of the others beside ours."""
    if not is_benchmark(output):
        refuse_others_files(output, ("measurements.json", "table.md", "figure.html"), " with --output")
    from rich.console import Console

    from integrations.cli.terminal import StageDisplay, Verbosity

    quieten_fiftyone()
    with StageDisplay(Console(stderr=True), Verbosity(quiet)) as display:
        from integrations.benchmark import run_cases, save_measurements

        loaded = _backbone(config, display)
        measurements = run_cases(comparison.cases(loaded, display), display)
        made_with = f"{loaded.name}, {loaded.weights} weights, {loaded.image_size} px"
        table = save_measurements(measurements, made_with, output)
    Console().print(_benchmark_table(measurements))
    print(f"all methods: {table.resolve()}")
    print(f"drawn: {table.with_name('figure.html').resolve()}")


def _backbone(config: AuditConfig, display: ProgressCallback) -> Backbone:
    from audit.images.load_backbone import load_backbone
    from audit.progress import Step

    return load_backbone(
        config.backbone,
        config.weights,
        config.image_size,
        config.device,
        note=lambda text: display(Step("backbone", note=text)),
    )


def _measure_claims(sources: list[str], seeds: list[int], output: Path, config: AuditConfig, quiet: bool) -> None:
    """Whether what the audit states of these sources is true; writes claims.md and prints the table of the groups."""
    if not is_benchmark(output):
        refuse_others_files(output, ("claims.json", "claims.md"), " with --output")
    from rich.console import Console

    from integrations.cli.terminal import StageDisplay, Verbosity

    quieten_fiftyone()
    with StageDisplay(Console(stderr=True), Verbosity(quiet)) as display:
        from integrations.benchmark import (
            GroupedCase,
            claim_cases,
            embedded_source,
            groups_table,
            measure_claims,
            origin_of,
            save_claims,
        )

        loaded = _backbone(config, display)
        cases: list[GroupedCase] = []
        for source in sources:
            x, labels, _ = embedded_source(source, loaded, display)
            cases += claim_cases(Path(source).name, x, labels, seeds)
        found = measure_claims(cases, progress=display)
        made_with = f"{loaded.name}, {loaded.weights} weights, {loaded.image_size} px"
    path = save_claims(found, origin_of(made_with, ("influence-audit", "torch")), output)
    print("\n".join(groups_table(found)))
    print(f"all audits: {path.resolve()}")


def _benchmark_table(measurements: list[Measurement]) -> Any:
    """Ours and the best peer by case, means over seeds."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from integrations.benchmark import NO_PEERS, OURS, mean_by_case

    table = Table(box=box.SIMPLE, title="Average precision, and flags as precision / recall", title_justify="left")
    for name in ("labels", "ours", "best peer", "our flags", "precision, modelled"):
        table.add_column(name, justify="left" if name in ("labels", "best peer") else "right")
    average = mean_by_case(measurements, "average_precision")
    flags = {name: mean_by_case(measurements, name) for name in ("precision", "recall", "estimated_precision")}
    for case, by_method in average.items():
        peer = max((name for name in by_method if name not in NO_PEERS), key=lambda name: by_method[name] or 0.0)
        shown = {name: values[case][OURS] or 0.0 for name, values in flags.items()}
        table.add_row(
            escape(case),
            f"{by_method[OURS]:.3f}",
            f"{by_method[peer]:.3f} {peer}",
            f"{shown['precision']:.3f} / {shown['recall']:.3f}",
            f"{shown['estimated_precision']:.3f}",
        )
    return table


def _noise(text: str) -> tuple[str, float]:
    kind, _, share = text.partition(":")
    try:
        fraction = float(share)
    except ValueError:
        fraction = 0.0
    if kind not in ("uniform", "class-pair") or not 0 < fraction <= 0.5:
        raise InputError(f"noise {text!r} is unknown; it takes KIND:SHARE, as in uniform:0.1 or class-pair:0.2")
    return kind, fraction


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"seeds {text!r} are not numbers; give them as 0,1,2") from None
