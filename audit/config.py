"""Every setting of an audit, with its meaning, checked once when it is made."""

from __future__ import annotations

import dataclasses
import difflib
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from audit.errors import InputError
from audit.findings.registry import check_names

SPLITS = ("train", "validation", "test")
TRAINERS = ("newton", "adam")
SOLVERS = ("auto", "cholesky", "cg")
ENGINES = (
    "exact",
    "pydvl-direct",
    "pydvl-cg",
    "pydvl-lissa",
    "pydvl-arnoldi",
    "pydvl-nystroem",
    "pydvl-ekfac",
    "pydvl-inverse-harmonic-mean",
)
SCOPES = ("head", "model")
HEAD_ONLY = {
    "exact": "its formulas hold for a head only",
    "pydvl-direct": "its matrix would have a row for each of the model's millions of parameters",
    "pydvl-lissa": "it needs the Hessian's largest eigenvalue, which is known for the head only",
    "pydvl-ekfac": "pyDVL implements it for linear layers only",
}
"""Why an engine cannot take the whole model."""
ZOO = "zoo:"
"""How the names of the models begin that FiftyOne's model zoo runs."""
NO_BACKBONE = "none"
"""The backbone of an audit by given predictions alone."""
PRECISIONS = ("float32", "bfloat16")
INJECTION_STRATEGIES = ("uniform", "class-pair", "most-influential")
INJECTION_TARGETS = ("all", "train")


SettingValue: TypeAlias = bool | int | float | str | None
"""What a setting can be."""

RECIPES: dict[str, dict[str, SettingValue]] = {
    "original": {
        "trainer": "adam",
        "epochs": 50,
        "learning_rate": 1e-3,
        "damping": 1e-3,
        "inject": 0.1,
        "inject_strategy": "most-influential",
        "inject_into": "train",
        "validation_trusted": True,
    }
}
"""Settings that belong together, by name: `AuditConfig(**RECIPES["original"])` repeats the recipe that this project
started from, on a seeded split of .8, .1 and .1."""


def _setting(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """The settings of one audit. The defaults are what the authors use.

    Raises:
        InputError: if a value is outside its range, naming the setting and what it accepts.
    """

    seed: int = _setting(0, "Seed of the split, the injection and everything else that is random.")
    train_size: float = _setting(0.8, "Share of the samples that the head is trained on.")
    validation_size: float = _setting(
        0.1, "Share of the samples that influence refers to: it is measured on their mean loss."
    )
    test_size: float = _setting(0.1, "Share of the samples on which the head's quality is measured.")
    use_splits: bool = _setting(
        False, "Use the dataset's own train, validation and test splits instead of a random stratified split."
    )
    strict: bool = _setting(
        False,
        "Stop with an error if a sample cannot be audited (unreadable image, no label, class with fewer than 3 "
        "samples), instead of leaving it out with a note.",
    )
    backbone: str = _setting(
        "resnet18",
        "The network that embeds the images: a classifier of torchvision (resnet18, resnet50, efficientnet_b0, "
        "vit_b_16, ...), efficientnet_lite2 (needs no network, with the extra lite), timm:NAME (any model of timm, "
        "with the extra timm), or zoo:NAME (an embeddings model of "
        "FiftyOne's zoo, such as zoo:clip-vit-base32-torch); or 'none' to audit by given predictions alone, without "
        "reading an image.",
    )
    weights: str = _setting(
        "auto",
        "Backbone weights: 'imagenet' (torchvision's, from its cache or the network) or the name of one of its "
        "entries ('IMAGENET1K_V1'), 'bundled' (a ResNet-18 inside this package), the path of a .safetensors or .pth "
        "file, or 'auto' (the pretrained ones of torchvision, timm or the zoo; of resnet18, else the bundled ones).",
    )
    image_size: int | None = _setting(
        None, "Side of the network's input in pixels; default: what the weights were trained with."
    )
    device: str = _setting("auto", "Where to compute: 'auto', 'cpu', 'cuda' or 'cuda:N'.")
    batch_size: int = _setting(256, "Images per pass through the backbone.")
    precision: str = _setting(
        "float32",
        "Number format of the backbone: 'float32', or 'bfloat16' (about half the time on a processor that supports it; "
        "embeddings differ by about 0.7 %, the influence of some samples by several %).",
    )
    cache_dir: str | None = _setting(None, "Folder of the embedding cache; default: the user's cache folder.")
    predictions_in_sample: bool = _setting(
        False,
        "The given predictions are of a model that was trained on these samples and labels. Such a model may have "
        "learnt a wrong label by heart, so the audit then judges a sample by the predictions for its nearest "
        "neighbours, and not by its own.",
    )
    trainer: str = _setting(
        "newton",
        "How the head is trained: 'newton' (L2-regularised, to convergence) or 'adam' (the original recipe: "
        "Adam, no L2, a fixed number of epochs).",
    )
    l2: float | None = _setting(None, "The head's L2 penalty; default: chosen by validation loss.")
    damping: float = _setting(
        0.0, "Number added to the Hessian's diagonal besides the L2 penalty (the original recipe uses 1e-3)."
    )
    epochs: int = _setting(50, "Epochs of the 'adam' trainer.")
    learning_rate: float = _setting(1e-3, "Learning rate of the 'adam' trainer.")
    head_batch_size: int = _setting(1000, "Batch size of the 'adam' trainer.")
    validation_trusted: bool = _setting(
        False,
        "Treat the validation labels as correct: none of them is flagged, the noise model learns from them, and "
        "influence refers to them. Otherwise influence refers to the classes that the audit expects for the "
        "validation images, because mislabels among their labels would distort it.",
    )
    engine: str = _setting(
        "exact",
        "What computes influence: 'exact' (the audit's own method), or for comparison one of pyDVL's methods of "
        "inverting the head's Hessian: 'pydvl-direct', 'pydvl-cg', 'pydvl-lissa', 'pydvl-arnoldi', 'pydvl-nystroem', "
        "'pydvl-ekfac', 'pydvl-inverse-harmonic-mean'.",
    )
    scope: str = _setting(
        "head",
        "Parameters that a pyDVL engine takes into account: 'head' (those of the head), or 'model' (the backbone's, "
        "too, as in the original recipe; this is slow, and all images must fit into memory).",
    )
    solver: str = _setting(
        "auto",
        "How the linear system H S = g is solved: 'cholesky', 'cg' (conjugate gradients), or 'auto' (by size).",
    )
    heat_maps: int = _setting(
        0,
        "Number of flagged training samples, the most suspicious ones, for which the report shows where in the image "
        "their influence comes from.",
    )
    inject: float = _setting(0.0, "Share of the labels to make wrong on purpose, to measure the audit; 0 for none.")
    inject_strategy: str = _setting(
        "uniform",
        "Which wrong labels to inject: 'uniform' (any other class), 'class-pair' (the class with the nearest mean "
        "embedding), or 'most-influential' (the original recipe: it changes the labels of the most helpful samples, "
        "which makes influence look better than it is).",
    )
    inject_into: str = _setting(
        "all", "Where mislabels are injected: into 'all' samples, or only into the 'train' split."
    )
    threshold: float | None = _setting(
        None, "Flag samples with at least this suspicion; default: the threshold with the best expected F1."
    )
    target_precision: float | None = _setting(
        None, "Flag as many samples as possible while the expected precision of the flags stays at this or above."
    )
    max_review: int | None = _setting(None, "Flag at most this many samples, the most suspicious first.")
    findings: str = _setting(
        "all",
        "What to look for beside wrong labels: 'all', 'none', or names with commas between: duplicates, leaks, "
        "off-topic, bad-pictures, dataset, and checks that you registered. Identical samples are always found.",
    )

    def __post_init__(self) -> None:
        for setting in dataclasses.fields(self):
            value = getattr(self, setting.name)
            if isinstance(value, numbers.Number) and hasattr(value, "item"):  # one of numpy's
                value = value.item()
                object.__setattr__(self, setting.name, value)
            _check_kind(setting, value)
        self._check_embedding()
        self._check_head()
        self._check_flags()

    def _check_embedding(self) -> None:
        """The seed, the split, and how images are embedded."""
        _check(self.seed >= 0, "seed", self.seed, "0 or more")
        sizes = (self.train_size, self.validation_size, self.test_size)
        for name, size in zip(SPLITS, sizes, strict=True):
            _check(0 < size < 1, f"{name}_size", size, "a share between 0 and 1")
        _check(abs(sum(sizes) - 1) < 1e-6, "train_size + validation_size + test_size", sum(sizes), "a sum of 1")
        _check(self.image_size is None or 16 <= self.image_size <= 4096, "image_size", self.image_size, "16 to 4096")
        _check(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        _check(self.precision in PRECISIONS, "precision", self.precision, _one_of(PRECISIONS))

    def _check_head(self) -> None:
        """How the head is trained, and how influence is computed and shown."""
        _check(self.trainer in TRAINERS, "trainer", self.trainer, _one_of(TRAINERS))
        _check(self.l2 is None or self.l2 > 0, "l2", self.l2, "a number above 0 (without it the optimum is not unique)")
        _check(self.damping >= 0, "damping", self.damping, "0 or more")
        _check(
            self.trainer == "newton" or self.damping > 0,
            "damping",
            self.damping,
            "a number above 0 with trainer 'adam', whose Hessian is singular otherwise (the original recipe uses 1e-3)",
        )
        _check(self.epochs >= 1, "epochs", self.epochs, "1 or more")
        _check(self.learning_rate > 0, "learning_rate", self.learning_rate, "a number above 0")
        _check(self.head_batch_size >= 1, "head_batch_size", self.head_batch_size, "1 or more")
        _check(self.engine in ENGINES, "engine", self.engine, _one_of(ENGINES))
        _check(self.scope in SCOPES, "scope", self.scope, _one_of(SCOPES))
        if self.scope == "model" and self.engine in HEAD_ONLY:
            able = ", ".join(engine for engine in ENGINES if engine not in HEAD_ONLY)
            raise InputError(f"{self.engine} cannot take scope 'model': {HEAD_ONLY[self.engine]}; these can: {able}")
        _check(self.heat_maps >= 0, "heat_maps", self.heat_maps, "0 or more")
        _check(
            not self.heat_maps or self.engine == "exact",
            "heat_maps",
            self.heat_maps,
            "0, unless the engine is exact",
        )
        if self.backbone.startswith(ZOO) and (self.heat_maps or self.scope == "model"):
            what = "heat_maps need" if self.heat_maps else "scope 'model' needs"
            raise InputError(
                f"{what} derivatives by pixels, and backbone {self.backbone!r} has none; use a backbone of torchvision "
                "or timm"
            )
        _check(self.solver in SOLVERS, "solver", self.solver, _one_of(SOLVERS))

    def _check_flags(self) -> None:
        """What is injected, what is flagged, and what else is looked for."""
        _check(0 <= self.inject <= 0.5, "inject", self.inject, "a share from 0 to 0.5")
        _check(
            self.inject_strategy in INJECTION_STRATEGIES,
            "inject_strategy",
            self.inject_strategy,
            _one_of(INJECTION_STRATEGIES),
        )
        _check(self.inject_into in INJECTION_TARGETS, "inject_into", self.inject_into, _one_of(INJECTION_TARGETS))
        _check(self.threshold is None or 0 <= self.threshold <= 1, "threshold", self.threshold, "a number from 0 to 1")
        _check(
            self.target_precision is None or 0 < self.target_precision <= 1,
            "target_precision",
            self.target_precision,
            "a number above 0, up to 1",
        )
        _check(self.max_review is None or self.max_review >= 1, "max_review", self.max_review, "1 or more")
        check_names(self.findings, "findings")
        stated = [name for name in ("threshold", "target_precision", "max_review") if getattr(self, name) is not None]
        if len(stated) > 1:
            raise InputError(f"set only one of threshold, target_precision and max_review (got {' and '.join(stated)})")

    def replace(self, **changes: Any) -> AuditConfig:
        """A copy with some settings changed, checked again."""
        return dataclasses.replace(self, **changes)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> AuditConfig:
        """The inverse of `to_dict`; settings that are left out have their defaults.

        Raises:
            InputError: if a setting is unknown, of the wrong kind or out of its range.
        """
        known = [setting.name for setting in dataclasses.fields(cls)]
        for name in settings:
            if name not in known:
                close = difflib.get_close_matches(str(name), known, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
                raise InputError(f"setting {name!r} is unknown; {hint}")
        return cls(**settings)

    def to_dict(self) -> dict[str, SettingValue]:
        """The settings as plain JSON values."""
        return dataclasses.asdict(self)


def help_of(setting: str) -> str:
    """The meaning of a setting in a sentence, as the command and the App show it."""
    return {f.name: f.metadata["help"] for f in dataclasses.fields(AuditConfig)}[setting]


def _one_of(choices: tuple[str, ...]) -> str:
    return "one of " + ", ".join(choices)


_KINDS: dict[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}
_KIND_NAMES = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text"}


def _check_kind(setting: dataclasses.Field[Any], value: Any) -> None:
    """Refuse a value of another type than the setting's: files and forms do not check types."""
    kind, *rest = str(setting.type).split(" | ")
    if rest and value is None:
        return
    ok = isinstance(value, _KINDS[kind]) and (kind == "bool" or not isinstance(value, bool))
    if ok and kind in ("int", "float"):
        ok = abs(value) < 1e15  # neither NaN nor infinite, and a float64 holds every whole number up to there
    if ok and kind == "str":
        ok = value.isprintable()
    _check(ok, setting.name, value, _KIND_NAMES[kind] + (" or nothing" if rest else ""))


def _check(ok: bool, name: str, value: Any, accepts: str) -> None:
    if not ok:
        error = InputError(f"{name} is {value!r}; it takes {accepts}")
        error.setting = name
        raise error
