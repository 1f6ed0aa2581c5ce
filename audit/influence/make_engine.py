"""The engine for a setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from audit.compute.matrix import select_rows
from audit.errors import InputError
from audit.head.fit import Head
from audit.head.stable import StableSolver
from audit.influence.engine import Engine, Labelled
from audit.influence.exact import ExactEngine

if TYPE_CHECKING:
    from audit.images.backbone import Backbone


def make_engine(
    name: str,
    head: Head,
    samples: Labelled,
    train: Tensor,
    solver: StableSolver,
    backbone: Backbone | None = None,
) -> Engine:
    """An engine by its name.

    Args:
        name: one of `audit.config.ENGINES`: 'exact', or 'pydvl-' and one of pyDVL's methods.
        head: trained on the training samples' embeddings.
        samples: all samples; embeddings, or pixels in [0, 1] for an engine on the whole model.
        train: positions (k,) of the training samples among them.
        solver: with the Hessian of the head's objective on the training samples. 'exact' solves by it; pyDVL's
            engines take the L2 penalty and the damping from its Hessian.
        backbone: that the head's embeddings are from, for an engine on the whole model; None for one on the head.

    Raises:
        InputError: if the name is unknown, or this engine cannot do what is asked, with the reason.
    """
    if name == "exact":
        return ExactEngine(head, solver)
    if not isinstance(samples.inputs, Tensor) or not isinstance(samples.targets, Tensor):
        raise InputError(
            f"engine {name!r} needs all embeddings in memory, and these are too large or on Dask workers; use 'exact'"
        )
    from audit.influence.pydvl import PydvlEngine

    trained_on = Labelled(select_rows(samples.inputs, train), select_rows(samples.targets, train))
    return PydvlEngine(name.removeprefix("pydvl-"), head, trained_on, solver.hessian, backbone)
