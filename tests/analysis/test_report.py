"""The report: files, self-containment, escaping, tables, and sweeps that are not done."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis.page
from analysis import compare, load, points, words
from analysis.__main__ import main
from analysis.report import publish, write
from analysis.standing import dominated_on_test, judged_frontier
from tests.analysis import made as the

_LOADING = ("src", "href", "action", "data", "poster", "srcset", "background")


class _Page(HTMLParser):
    """Tags, attributes and texts of a page as a browser would see them; scripts apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
        self.text = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        self._inside = tag
        if tag == "script":
            self.scripts.append((attributes, ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif self._inside != "style":
            self.text += data


@pytest.fixture(scope="module")
def html(made: Path) -> str:
    return (made / "report" / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> _Page:
    return _Page(html)


def test_nothing_is_loaded_from_outside(html: str, page: _Page) -> None:
    for tag, attributes in page.tags:
        for name in _LOADING:
            assert not re.match(r"\s*(https?:|//)", attributes.get(name, "")), (tag, attributes)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_the_policy_forbids_every_request_and_names_every_script(page: _Page) -> None:
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert "http" not in policy
    code = [text for attributes, text in page.scripts if attributes.get("type") != "application/json"]
    ours = {path.name for path in Path(analysis.page.__file__).parent.glob("page*.js")}
    ours -= {"page_live.js", "page_live_patch.js"}  # of a page that is served
    assert len(code) == len(ours) + 1  # plotly comes first
    for text in code:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy


def test_plotly_is_there_once(page: _Page) -> None:
    assert sum("plotly.js v" in text[:200] for _, text in page.scripts) == 1


def test_strings_of_the_sweep_are_text(page: _Page) -> None:
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == len(page.scripts)
    assert "img" not in tags
    assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    assert the.SCRIPT in page.text
    assert the.CAUSE in page.text
    data = {at["id"]: text for at, text in page.scripts if at.get("type") == "application/json"}
    assert set(data) == {"figures", "facts"}
    assert not set("<>&") & set("".join(data.values()))
    assert set(json.loads(data["figures"])) == {"light", "dark"}


def test_the_page_says_what_matters(page: _Page, table: pd.DataFrame) -> None:
    text = " ".join(page.text.replace("\N{NARROW NO-BREAK SPACE}", " ").split())
    for part in (
        "trades_beta", "trials are on the frontier", "selection set", "AutoAttack standard", "under linf, eps 8/255",
        "node-07", "4be1f0a", "9f2c51d07a34", "2026-11-20 13:02 UTC", "python run_sweep.py", "torch", "loguniform",
        "bound after apgd-ce, dominated by trial", "Each time members were fixed", "Wilson",
    ):  # fmt: skip
        assert part in text, part
    member = table.loc[table["member"], "trial"].iloc[-1]
    low, high = table.loc[member, ["test_robust_accuracy_low", "test_robust_accuracy_high"]]
    assert f"{100 * low:.1f}\N{EN DASH}{100 * high:.1f}" in text


def test_no_path_of_the_machine_is_on_the_page(html: str, made: Path) -> None:
    assert str(made.parent) not in html
    assert str(Path.home()) not in re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)


def test_trials_csv_is_the_table(made: Path, table: pd.DataFrame) -> None:
    back = pd.read_csv(made / "report" / "trials.csv", dtype={"flags": "object"}).fillna({"flags": ""})
    assert list(back.columns) == list(table.columns)
    for name in table.columns:
        mine, theirs = table[name].tolist(), back[name].tolist()
        for a, b in zip(mine, theirs, strict=True):
            assert (pd.isna(a) and pd.isna(b)) or a == (pytest.approx(b) if isinstance(b, float) else b), name


def test_frontier_csv_has_the_members(made: Path, table: pd.DataFrame) -> None:
    back = pd.read_csv(made / "report" / "frontier.csv")
    assert sorted(back["trial"]) == table.loc[table["member"], "trial"].tolist()
    assert back["judged_clean_accuracy"].is_monotonic_decreasing
    assert back["dominated_on_test"].any()
    assert {"option.model.activation", "test_robust_accuracy_low", "judge_version"} <= set(back.columns)
    for split, prefix in (("validation", "judged"), ("test", "test")):
        chances = compare(made, split=split).set_index("trial")["nondominated"]
        np.testing.assert_allclose(back[f"{prefix}_nondominated"], chances[back["trial"]])


class _Tables(HTMLParser):
    """The texts of a table's cells by its id: rows of a page as a reader sees them, the header first."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._rows = self.tables.setdefault(dict(attrs).get("id") or "", [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        self._inside = (self._inside or tag in ("td", "th")) and tag != "tr"

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self._rows[-1][-1] = f"{self._rows[-1][-1]} {data}".strip()


def test_members_have_their_probabilities_and_neighbours_their_tests(
    made: Path, html: str, table: pd.DataFrame
) -> None:
    tables = _Tables(html).tables
    found = {split: compare(made, split=split).set_index("trial") for split in ("validation", "test")}
    head, *rows = tables["members"]
    assert [" ".join(text.split()) for text in head[:6]] == [
        "trial", "clean test, %, 95 % interval", "robust test, %, 95 % interval", "on test",
        "P(not dominated) test", "P(not dominated) selection set",
    ]  # fmt: skip
    assert head[-1].split()[0] == "activation"  # options come last
    dominated = table[dominated_on_test(table, the.OBJECTIVES)]["trial"].tolist()
    for row in rows:
        trial = int(row[0])
        assert row[3] == ("dominated" if trial in dominated else "not dominated")
        assert row[4] == words.probability(found["test"].loc[trial, "nondominated"])
        assert row[5] == words.probability(found["validation"].loc[trial, "nondominated"])
    assert len(rows) == table["member"].sum()
    titles, *steps = tables["neighbours"]
    tests = [" ".join(text.split()) for text in titles if text.startswith("p")]
    assert tests == ["p (Holm) clean", "p (Holm) robust"], "beside intervals that are not adjusted"
    assert [step[0] for step in steps] == [row[0] for row in rows[:-1]]
    assert [step[1] for step in steps] == [row[0] for row in rows[1:]]
    for step in steps:
        told = found["test"].loc[[int(step[0])]].iloc[0]
        assert step[2].split()[0] == words.points(told["clean_difference"])
        assert step[4].split()[0] == words.points(-told["robust_difference"])
        assert [step[3], step[5]] == [words.p_value(told["clean_p"]), words.p_value(told["robust_p"])]
    assert "seeds" not in tables


def test_attack_by_attack_adds_up(made: Path, html: str, table: pd.DataFrame) -> None:
    head, *rows = _Tables(html).tables["attacks"]
    assert [text.split()[0] for text in head] == ["trial", "images", "wrong", *the.ATTACKS, "stand"]
    assert [int(row[0]) for row in rows] == table.loc[table["member"], "trial"].tolist()
    for row in rows:
        trial = table.loc[int(row[0])]
        images, *broken, stand = (int(text.replace(",", "")) for text in row[1:])
        assert sum(broken) + stand == images == trial["test_images"]
        assert stand == round(images * trial["test_robust_accuracy"])
        assert broken[0] == images - round(images * trial["test_clean_accuracy"])


def test_each_member_says_where_it_lies_and_what_can_be_done_with_it(tmp_path: Path) -> None:
    folder = the.sweep(tmp_path / "s")
    member = int(load(folder).query("member")["trial"].iloc[0])
    where = folder / "trials" / f"{member:04d}"
    where.mkdir(parents=True)
    (where / "trial.yaml").write_text(f"seed: 7  # {the.SCRIPT}\n")
    (folder / "sweep.yaml").write_text(
        (folder / "sweep.yaml").read_text().replace("space:\n", "space:\n  description: why <b>\n")
    )
    page = _Page(publish(folder, picture=False).index.read_text(encoding="utf-8"))
    for part in (
        f"trials/{member:04d}", f"weights {'ab' * 32}", "why <b>", f"seed: 7  # {the.SCRIPT}",
        f"python -m robustray judge trials/{member:04d} --split validation",
        f"python -m robustray train trials/{member:04d}/trial.yaml --folder again",
        f'load_model(Path("trials/{member:04d}"))',
    ):  # fmt: skip
        assert part in page.text, part
    cards = [attributes for tag, attributes in page.tags if tag == "details" and attributes.get("class") == "card"]
    assert len(cards) == load(folder)["member"].sum()


def test_flagged_trials_and_seeds_are_on_the_page(mixed: Path) -> None:
    html = (mixed / "report" / "index.html").read_text(encoding="utf-8")
    text, tables = _Page(html).text, _Tables(html).tables
    (row,) = [row for row in tables["trials"] if row[0] == "4"]
    assert row[1] == "flagged"
    assert the.FLAG in row[-1]
    assert "4" not in [row[0] for row in tables["members"]]
    assert "It was judged in full all the same" in text
    _, *settings = tables["seeds"]
    assert [[row[0], row[1]] for row in settings if row[2] == "selection set"] == [["3", "3"], ["10", "3"]]
    assert "trial 3 with another training seed" in text


def test_without_verdicts_the_report_does_without_statistics_and_says_so(tmp_path: Path) -> None:
    folder = the.sweep(tmp_path / "s")
    shutil.rmtree(folder / "judgements")
    report = publish(folder, picture=False)
    assert [note.split(":")[0] for note in report.notes] == [
        "no paired statistics on validation",
        "no paired statistics on test",
    ]
    html = report.index.read_text(encoding="utf-8")
    tables = _Tables(html).tables
    assert "neighbours" not in tables
    assert not [head for head in tables["members"][0] if "P(not dominated)" in head]
    assert "band of the frontier" not in html
    assert pd.read_csv(folder / "report" / "frontier.csv")["test_nondominated"].isna().all()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"judge": False}, "nothing is judged yet"),
        ({"fix": False}, "members are not fixed"),
        ({"trials": 0}, "No trial has started yet."),
        ({"trials": 1, "judge": False}, "1 of 1 trial has finished"),
    ],
)
def test_a_sweep_on_its_way_has_a_page(tmp_path: Path, how: dict[str, bool], said: str) -> None:
    folder = the.sweep(tmp_path / "s", **how)  # type: ignore[arg-type]  # one of each keyword's type
    report = publish(folder, picture=False)
    assert said in report.index.read_text(encoding="utf-8")
    assert pd.read_csv(folder / "report" / "frontier.csv").empty
    assert report.notes == []


def test_a_sweep_without_a_sheet_has_a_page(tmp_path: Path) -> None:
    folder = the.sweep(tmp_path / "nameless", trials=3, judge=False)
    (folder / "sweep.yaml").unlink()
    html = publish(folder, picture=False).index.read_text(encoding="utf-8")
    assert "there is no sweep.yaml in this folder" in html
    assert "<h1>nameless</h1>" in html


def test_without_a_browser_there_is_a_note_and_no_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "BROWSER_PATH", "/bin/false"
    )  # one that dies as it starts: kaleido's threads wait for it for ever
    folder = the.sweep(tmp_path / "s", trials=3, judge=False)
    (folder / "report").mkdir()
    (folder / "report" / "frontier.png").write_bytes(b"old")
    before = set(threading.enumerate())
    report = publish(folder)
    assert report.notes == ["frontier.png was not drawn: The browser seemed to close immediately after starting."]
    assert not [thread for thread in set(threading.enumerate()) - before if not thread.daemon]
    assert not (folder / "report" / "frontier.png").exists()
    assert write(folder) == report.index
    assert report.index.exists()


def test_nothing_is_left_aside(made: Path) -> None:
    assert {path.name for path in (made / "report").iterdir()} == {"index.html", "frontier.csv", "trials.csv"}


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folder = the.sweep(tmp_path / "s", trials=2, judge=False)
    monkeypatch.setattr(sys, "argv", ["analysis", "report", str(folder), "--no-png"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert capsys.readouterr().out.strip() == str(folder / "report" / "index.html")


def test_the_command_without_a_sweep_is_one_line_and_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["analysis", "report", str(tmp_path / "nothing")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    told = capsys.readouterr().err.strip()
    assert "no sweep here" in told
    assert "\n" not in told


def test_neither_torch_nor_ray_is_loaded() -> None:
    code = (
        "import sys, analysis\n"
        "assert 'pandas' not in sys.modules, 'the front is not lazy'\n"
        "import analysis.report, analysis.printed, analysis.__main__\n"
        "analysis.load, analysis.frontier, analysis.hypervolume, analysis.wilson, analysis.frontier_figure, analysis.compare\n"
        "print(sorted({'torch', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_frontier_is_asked_for_as_often_whatever_the_number_of_trials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It looks at every trial, so that asking once a trial makes a page of a thousand a matter of minutes."""
    asked = list[int]()
    judged = judged_frontier

    def counted(df: pd.DataFrame, objectives: Mapping[str, str]) -> set[int]:
        asked[-1] += 1
        return judged(df, objectives)

    monkeypatch.setattr(points, "judged_frontier", counted)
    for trials in (12, 24):
        asked.append(0)
        publish(the.sweep(tmp_path / str(trials), trials=trials, fix=False), picture=False)
    assert 0 < asked[0] == asked[1]
