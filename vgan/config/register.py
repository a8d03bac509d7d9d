"""Where a model is registered, and what it must beat."""

from __future__ import annotations

from pydantic import Field

from .spec import Name, Spec


class RegisterConfig(Spec):
    """Where a model is registered and what it must beat."""

    model_name: Name | None = Field(
        default=None, title="Model name", description="Registered model; empty takes the dataset's name."
    )
    alias: str = Field(
        default="champion",
        title="Alias",
        pattern=r"^[a-z][a-z0-9_-]{0,62}$",
        description="Alias that the best version carries.",
    )
    tolerance: float = Field(
        default=0.05,
        title="Tolerance",
        ge=0,
        le=1,
        description="By how much the guards (recall, memorisation, motion) may be worse than the champion's, beyond "
        "their 95 % interval: 0 is no worse, 1 as far off as real clips that were spoilt on purpose.",
    )
    force: bool = Field(
        default=False,
        title="Force the alias, against the gate",
        description="Give the alias to this model although it fails the gate, and record that; never with samples "
        "that are not finite.",
    )
