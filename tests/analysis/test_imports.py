"""What came in from other sweeps is shown apart, and changes nothing else on the page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from analysis.report import publish
from sweeps.record import Record
from sweeps.record.imported import Imported, keep
from sweeps.record.known import Source
from tests.analysis import made as the
from tests.analysis.test_report import _Tables

KNOWN: tuple[Source, ...] = ("judged", "bound", "cheap")


def found(number: int) -> Imported:
    values = {"clean_accuracy": 0.9, "robust_accuracy": number / 10}
    return Imported(
        f"results/<{number}>", number, "f" * 64, "0" * 64, {"defense.beta": number + 0.5}, values, KNOWN[number]
    )


FOUND = [found(number) for number in range(3)]


def test_what_was_imported_has_a_table_and_a_file_of_its_own(made: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    folder = tmp_path / "trades_beta"
    shutil.copytree(made, folder)
    with Record(folder, the.OBJECTIVES) as record:
        keep(record, FOUND)
    page = publish(folder, picture=False).index.read_text(encoding="utf-8")
    before, now = _Tables((made / "report" / "index.html").read_text(encoding="utf-8")).tables, _Tables(page).tables
    head, *rows = now.pop("imported")
    assert "imported" not in before
    assert now == before
    assert head[0] == "imported from"
    assert [row[:2] for row in rows] == [[each.source, str(each.trial)] for each in FOUND]
    assert [row[4:] for row in rows] == [["in full", "0.5"], ["a bound", "1.5"], ["cheap attack", "2.5"]]
    assert "results/<0>" not in page
    written = pd.read_csv(folder / "report" / "imported.csv")
    assert written["robust_accuracy"].tolist() == [0.0, 0.1, 0.2]
    assert written["known"].tolist() == ["judged", "bound", "cheap"]
    assert len(pd.read_csv(folder / "report" / "trials.csv")) == len(table)
    assert not (made / "report" / "imported.csv").exists()
