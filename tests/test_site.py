"""Every page is on the site, once. Whether links lead somewhere is asked by `make docs`, which builds it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def _pages(nav: list[Any]) -> Iterator[str]:
    for entry in nav:
        if isinstance(entry, str):
            yield entry
        else:
            for value in entry.values():
                yield from _pages(value) if isinstance(value, list) else [value]


def test_every_page_is_on_the_site_once() -> None:
    site = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    docs = ROOT / site["docs_dir"]
    assert sorted(_pages(site["nav"])) == sorted(str(path.relative_to(docs)) for path in docs.rglob("*.md"))
