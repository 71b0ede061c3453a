"""What every part promises, as checks to run on a part of one's own: `check(cls)`.

A kind's file holds the contracts of that kind, `options` those of every kind; `made` has what they are made of. The package's
own tests run the same ones over all registered parts.
"""

from __future__ import annotations

from robustray.testing.suite import Contract, Result, check, contracts, variants

__all__ = ["Contract", "Result", "check", "contracts", "variants"]
