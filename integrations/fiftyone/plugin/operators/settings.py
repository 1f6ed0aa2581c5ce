"""The inputs for the settings of an audit, shared by the operators that audit and inject."""

from __future__ import annotations

from typing import Any

from fiftyone.operators import types

from audit.config import INJECTION_STRATEGIES, NO_BACKBONE, AuditConfig, help_of
from audit.errors import InputError

BACKBONES = (
    "resnet18",
    "resnet50",
    "efficientnet_b0",
    "vit_b_16",
    "zoo:clip-vit-base32-torch",
    "zoo:dinov2-vits14-torch",
)
"""Proposed by the form; it takes any other name, too."""
SETTINGS = tuple(AuditConfig.__dataclass_fields__)


def settings_inputs(inputs: types.Object) -> None:
    """The settings that few users change: injection, threshold, splits, backbone and seed."""
    strategy_input(inputs, "inject_strategy")
    inputs.float(
        "threshold", min=0, max=1, label="Threshold on the suspicion", description=help_of("threshold"), required=False
    )
    inputs.float(
        "target_precision",
        min=0,
        max=1,
        label="Or: precision of the flags",
        description=help_of("target_precision"),
        required=False,
    )
    inputs.int("max_review", min=1, label="Or: review budget", description=help_of("max_review"), required=False)
    for name, label in (("use_splits", "Use the dataset's own splits"), ("validation_trusted", "Trust validation")):
        inputs.bool(name, default=False, label=label, description=help_of(name), view=types.CheckboxView())
    backbone_inputs(inputs)
    inputs.int("seed", default=0, min=0, label="Seed", description=help_of("seed"))


def strategy_input(inputs: types.Object, name: str) -> None:
    """The input for which labels an injection changes, and to which classes."""
    inputs.enum(
        name,
        list(INJECTION_STRATEGIES),
        default=INJECTION_STRATEGIES[0],
        label="Which labels to change, and to what",
        description=help_of("inject_strategy"),
        view=types.DropdownView(),
    )


def backbone_inputs(inputs: types.Object) -> None:
    """The inputs for the backbone that computes the embeddings."""
    proposed = types.AutocompleteView()
    for name in (*BACKBONES, NO_BACKBONE):
        proposed.add_choice(name, label=name)
    inputs.str("backbone", default=BACKBONES[0], label="Backbone", description=help_of("backbone"), view=proposed)
    inputs.str("weights", default="auto", label="Weights", description=help_of("weights"))
    inputs.int("image_size", label="Image size", description=help_of("image_size"), required=False)


def audit_config_of(params: dict[str, Any]) -> AuditConfig:
    """The settings from a form's parameters; all others have their defaults.

    Raises:
        InputError: if a setting cannot be used.
    """
    given = {name: params[name] for name in SETTINGS if params.get(name) is not None}
    try:
        return AuditConfig(**given)
    except TypeError as error:
        raise InputError(f"a setting has the wrong type ({error}); see audit.AuditConfig") from None
