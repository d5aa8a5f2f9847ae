"""What the definitions of this room have in common: they are called like functions, and know their runner once bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import dagster as dg
from typing_extensions import Self

from dagster_hpc.assets.binding import bound
from dagster_hpc.assets.invocation import call
from dagster_hpc.assets.options import without_beta_warnings
from dagster_hpc.assets.recipe import recipe_of

Collect = TypeVar("Collect", bound=Callable[..., Any])


class HPCDefinition(dg.AssetsDefinition):
    """A definition whose steps are batch jobs. Its recipe lies with its function, which Dagster's copies share."""

    @classmethod
    def dagster_internal_init(cls, **attributes: Any) -> Self:
        """Dagster's way to a copy with other attributes, which stays what it is."""
        with without_beta_warnings():
            return cls(**attributes)

    def with_resources(self, resource_defs: Mapping[str, dg.ResourceDefinition]) -> Self:
        """The definition with its resources; from here on it shows what its runner is."""
        copy = super().with_resources(resource_defs)
        assert isinstance(copy, type(self))
        return bound(copy)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function that was decorated; with a runner among the arguments, the step as Dagster would run it."""
        from dagster._core.definitions.composition import is_in_composition

        recipe = recipe_of(self)
        if recipe is None or is_in_composition():
            return super().__call__(*args, **kwargs)
        return call(recipe, super().__call__, args, kwargs)

    def collect(self, function: Collect) -> Collect:
        """Decorate the function that says what the finished job comes to.

        It is given the `JobResult`, or the list of them where the body returns a list of Commands; and the step's
        `context`, if it has a parameter of that name. What it returns, the decorator of the body tells.

        Example:
            @bit_counts.collect
            def ones(result: JobResult) -> int:
                return int(Path(result.outputs["n"]).read_text())
        """
        recipe = recipe_of(self)
        assert recipe is not None
        recipe.collect = function
        return function
