"""Plugins for tests: the page's defense, and a process that forgets them again."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from robustray import registry
from robustray.plugins import loading, trust

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "own_defense.md"


def page(name: str) -> str:
    """A file of the page about defenses of one's own."""
    found = re.search(rf"^```\w+\n# {re.escape(name)}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert found, name
    return found[1]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test loads is unknown after it; `restart` makes it so within one."""
    registry.kinds()
    monkeypatch.setattr(registry, "_PARTS", {kind: dict(known) for kind, known in registry._PARTS.items()})
    monkeypatch.setattr(loading, "_loaded", {})
    monkeypatch.setattr(trust, "_trusted", set())
    monkeypatch.setattr(trust, "_everything", False)


def restart() -> None:
    """As in a new process of the same user: nothing is loaded, what he trusts is in his home."""
    for each in loading._loaded.values():
        for cls in each.parts:
            registry.forget(cls)
    for name in [name for name in sys.modules if name.startswith("robustray_plugin_")]:
        del sys.modules[name]
    loading._loaded.clear()
    trust._trusted.clear()
    trust.__dict__["_everything"] = False
