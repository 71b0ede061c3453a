"""Pictures beside a page: what is asked for is there, and nothing older."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go
import pytest

from analysis import picture


def test_what_is_asked_for_is_written_and_what_is_not_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def drawn(figure: go.Figure, width: int, height: int, kind: str, scale: float) -> bytes:
        asked.append(f"{kind} {width}x{height}")
        return kind.encode()

    monkeypatch.setattr(picture, "drawn", drawn)
    (tmp_path / "radii.png").write_bytes(b"old")
    assert picture.beside(go.Figure(), tmp_path / "radii", (300, 200), ("pdf", "svg")) == []
    assert asked == ["svg 300x200", "pdf 300x200"]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"radii.svg": "svg", "radii.pdf": "pdf"}
    assert picture.beside(go.Figure(), tmp_path / "radii", (300, 200), ("none",)) == []
    assert not list(tmp_path.iterdir())


def test_a_browser_that_fails_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER_PATH", "/bin/false")
    (tmp_path / "a.svg").write_bytes(b"old")
    notes = picture.beside(go.Figure(), tmp_path / "a", (300, 200), ("png", "svg", "pdf"))
    assert notes == ["a.png was not drawn: The browser seemed to close immediately after starting."]
    assert not list(tmp_path.iterdir())
