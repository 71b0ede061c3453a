"""A training function of the user's own: what it is called with, and the network that it trains. Loads without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from robustray import plugins
from robustray.errors import UserError
from robustray.plain import line
from robustray.registry import Options

if TYPE_CHECKING:
    from torch import nn

_FUNCTION = r"^[^:]+:[A-Za-z_]\w*$"


class Script(Options):
    """A function that trains in place of ours. What it makes is measured and judged as any trial's model is."""

    train: str = Field(
        pattern=_FUNCTION,
        description="train(config, report, checkpoint) in a file or a module, my_script.py:train: it gives back the trained "
        "network or its state dict",
    )
    model: str = Field(
        pattern=_FUNCTION,
        description="function of config, my_script.py:net: the network, pixels [B, C, H, W] in [0, 1] to logits [B, K]",
    )
    config: dict[str, Any] = Field(
        {},
        description="what both functions get, a plain dict; any value may be searched. Without a seed it has the trial's",
    )

    def given(self, seed: int) -> dict[str, Any]:
        """The config of a trial: a copy, that the function may change."""
        return {"seed": seed, **_copied(self.config)}

    def network(self, names: Mapping[str, str], seed: int) -> nn.Module:
        """The network as it is before training; drawn weights come from torch's global generator.

        Args:
            names: the trial's plugins, which the function's file is one of.

        Raises:
            UserError: the function fails, or makes something else.
        """
        from torch import nn

        make = plugins.function(names, self.model)
        try:
            made = make(self.given(seed))
        except Exception as error:  # the user's own code may raise anything
            raise UserError(f"{self.model}: {type(error).__name__}: {line(error)}") from error
        if not isinstance(made, nn.Module):
            raise UserError(f"{self.model}: gave a {type(made).__name__}, not a torch module")
        return made


def _copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree
