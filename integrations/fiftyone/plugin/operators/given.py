"""The inputs for embeddings and predictions of the user's own, which the dataset has as fields or brain runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fiftyone as fo
from fiftyone.operators import types

from audit.config import NO_BACKBONE, help_of

from .operator import refuse

if TYPE_CHECKING:
    from integrations.fiftyone.given import GivenInputs


def given_inputs(ctx: Any, dataset: fo.Dataset, inputs: types.Object, label_field: str | None) -> None:
    """Add a choice of embeddings and one of predictions, each where the dataset has some."""
    from integrations.fiftyone.given_choices import embedding_choices, prediction_choices

    own_embeddings, own_predictions = _named(ctx.params)
    embeddings = embedding_choices(dataset)
    if embeddings or own_embeddings:
        view = types.Dropdown(multiple=True)
        for name, about in embeddings.items():
            view.add_choice(name, label=name, description=about)
        prop = inputs.list(
            "embeddings",
            types.String(),
            label="Embeddings of your own",
            description="In place of a backbone's; several are used together. No image passes through a network then.",
            required=False,
            view=view,
        )
        _check(prop, "embeddings", own_embeddings, embeddings)
    predictions = prediction_choices(dataset, label_field)
    if predictions or own_predictions:
        proposed = types.AutocompleteView()
        for name, about in predictions.items():
            proposed.add_choice(name, label=name, description=about)
        prop = inputs.str(
            "predictions",
            label="Predictions of your own",
            description="Class predictions by a model that was not trained on the samples, used beside the embeddings.",
            required=False,
            view=proposed,
        )
        _check(prop, "predictions", [own_predictions] if own_predictions else [], predictions)
    if own_predictions:
        inputs.bool(
            "predictions_in_sample",
            default=False,
            label="The model was trained on these samples",
            description=help_of("predictions_in_sample"),
            view=types.CheckboxView(),
        )
        if not own_embeddings:
            inputs.bool(
                "predictions_alone",
                default=False,
                label="By predictions alone",
                description="Read no image for the audit. Influence is undefined then.",
                view=types.CheckboxView(),
            )
    elif ctx.params.get("backbone") == NO_BACKBONE and not own_embeddings:
        refuse(inputs, "backbone 'none' needs embeddings or predictions of your own; choose some", "given_problem")


def given_of(params: dict[str, Any]) -> GivenInputs:
    """What was chosen, for an audit."""
    from integrations.fiftyone.given import GivenInputs

    embeddings, predictions = _named(params)
    return GivenInputs.of(embeddings or None, predictions)


def settings_of(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters with the settings that follow from what was chosen."""
    embeddings, predictions = _named(params)
    if predictions is None:
        return {name: value for name, value in params.items() if name != "predictions_in_sample"}
    if params.get("predictions_alone") and not embeddings:
        return {**params, "backbone": NO_BACKBONE}
    return params


def _named(params: dict[str, Any]) -> tuple[list[str], str | None]:
    """The names of the chosen embeddings and predictions. The form needs no more, and no torch."""
    return list(params.get("embeddings") or ()), params.get("predictions") or None


def _check(prop: types.Property, what: str, chosen: list[str], choices: dict[str, str]) -> None:
    """Refuse a name that the dataset does not have; files can be named from Python."""
    from integrations.given_files import is_file_name

    unknown = [name for name in chosen if name not in choices and not is_file_name(name)]
    if unknown:
        prop.invalid = True
        prop.error_message = f"{what} {unknown[0]!r} is not on the dataset; it has: {', '.join(choices) or 'none'}"
