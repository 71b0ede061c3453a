"""The live page's server: whom it answers, what it serves, and when it says that there is something new."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

aiohttp = pytest.importorskip("aiohttp")

from aiohttp.test_utils import TestClient, TestServer  # noqa: E402

from analysis import page  # noqa: E402
from analysis.live import place, source, watch  # noqa: E402
from analysis.live.server import application  # noqa: E402
from robustray.errors import UserError  # noqa: E402
from sweeps import record  # noqa: E402
from tests.analysis import made as the  # noqa: E402


def _source(folder: Path, texts: Callable[[Path], dict[str, str]]) -> source.Source:
    return source.Source(folder, texts, page.blank)


def _texts(folder: Path) -> dict[str, str]:
    return {"index.html": (folder / record.JOURNAL).read_text(), "trials.csv": "trial\n0\n"}


def _with(of: source.Source, ask: Callable[[TestClient], Awaitable[None]]) -> None:  # type: ignore[type-arg]
    async def run() -> None:
        async with TestClient(TestServer(application(of), host=place.HOST)) as client:
            await asyncio.wait_for(ask(client), 60)

    asyncio.run(run())


def test_only_this_machine_by_its_own_names_is_answered(tmp_path: Path) -> None:
    async def ask(client: TestClient) -> None:  # type: ignore[type-arg]
        for headers, status in (
            ({}, 200),
            ({"Host": "localhost:8000"}, 200),
            ({"Host": "evil.example"}, 403),
            ({"Host": f"127.0.0.1.evil.example:{client.port}"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-origin"}, 200),
        ):
            answer = await client.get("/", headers=headers)
            assert answer.status == status, headers
            assert answer.headers.get("Cache-Control") == "no-store" or status == 403
        assert (await client.post("/")).status == 405
        for path in ("/study.journal", "/../study.journal", "/%2e%2e/x.csv", "/.csv", "/trials.csv"):
            assert (await client.get(path)).status == 404, path

    _with(_source(tmp_path / "not there", _texts), ask)


def test_a_change_of_the_record_is_a_new_version_and_the_same_state_is_none(tmp_path: Path) -> None:
    async def ask(client: TestClient) -> None:  # type: ignore[type-arg]
        events = await client.get("/events")

        async def version() -> str:
            line = await events.content.readline()
            await events.content.readline()
            return line.decode().strip()

        assert await version() == "data: 0"
        assert "has not begun" in await (await client.get("/")).text()
        (tmp_path / record.JOURNAL).write_text("one")
        assert await version() == "data: 1"
        shown = await client.get("/")
        assert (await shown.text(), shown.headers["X-Version"]) == ("one", "1")
        assert await (await client.get("/trials.csv")).text() == "trial\n0\n"
        os.utime(tmp_path / record.JOURNAL, (1, 1))  # looked at again, and nothing is new
        (tmp_path / "sweep.yaml").touch()
        await asyncio.sleep(1.2)
        (tmp_path / record.JOURNAL).write_text("two, longer")
        assert await version() == "data: 2"
        events.close()

    _with(_source(tmp_path, _texts), ask)


def test_what_cannot_be_shown_is_said_and_tried_again(tmp_path: Path) -> None:
    def texts(folder: Path) -> dict[str, str]:
        text = (folder / record.JOURNAL).read_text()
        if text == "bad":
            raise ValueError("<script>alert(1)</script>")
        if text == "worse":
            raise UserError("the record is damaged")
        return {"index.html": text}

    async def ask(client: TestClient) -> None:  # type: ignore[type-arg]
        async def after(text: str, told: str) -> None:
            (tmp_path / record.JOURNAL).write_text(text)
            while told not in (shown := await (await client.get("/")).text()):
                await asyncio.sleep(0.05)
            assert "<script>alert" not in shown

        await after("bad", "ValueError: &lt;script&gt;")
        await after("worse", "the record is damaged")
        await after("good again", "good again")

    _with(_source(tmp_path, texts), ask)


def test_a_taken_port_is_one_line() -> None:
    with place.listening() as one:
        port = one.getsockname()[1]
        assert place.address(one) == f"http://127.0.0.1:{port}/"
        with pytest.raises(UserError, match=f"--port {port}: .*without --port a free one is chosen"):
            place.listening(port)


def test_without_the_library_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs aiohttp: pip install"), watch.beside(tmp_path):
        pass


@pytest.mark.browser
def test_it_ends_with_the_process_that_it_is_beside(made: Path, tmp_path: Path) -> None:
    """Killed without a word, as by a lack of memory, the sweep leaves no server behind."""
    folder = tmp_path / "s"
    shutil.copytree(made, folder)
    code = (
        "import sys, time; from pathlib import Path; from analysis.live.watch import beside\n"
        "with beside(Path(sys.argv[1])) as told: print(told, flush=True); time.sleep(600)"
    )
    sweep = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert sweep.stdout is not None
    told = sweep.stdout.readline().strip()
    port = int(told.rstrip("/").rpartition(":")[2])
    with socket.create_connection((place.HOST, port), timeout=100) as asked:  # waits until somebody answers
        asked.sendall(f"GET / HTTP/1.1\r\nHost: {place.HOST}:{port}\r\nConnection: close\r\n\r\n".encode())
        assert asked.recv(15).startswith(b"HTTP/1.1 200")
    sweep.kill()
    sweep.wait()
    sweep.stdout.close()
    for _ in range(600):
        try:
            socket.create_connection((place.HOST, port), timeout=5).close()
        except OSError:
            return
        asyncio.run(asyncio.sleep(0.1))
    raise AssertionError("still served")


def test_a_page_is_told_what_changed_since_the_state_that_it_shows(made: Path, tmp_path: Path) -> None:
    """From a state that is not known any more, or another server's, all is sent; to a page without figures it is loaded."""
    text = (made / "report" / "index.html").read_text(encoding="utf-8").replace("<body>", '<body data-state="">')
    (tmp_path / record.JOURNAL).write_text(text)

    def texts(folder: Path) -> dict[str, str]:
        return {"index.html": (folder / record.JOURNAL).read_text()}

    async def ask(client: TestClient) -> None:  # type: ignore[type-arg]
        async def state(told: str) -> tuple[str, str]:
            while told not in (shown := await (await client.get("/")).text()):
                await asyncio.sleep(0.05)
            found = re.search(r'<body data-state="([0-9a-f]{16})">', shown)
            assert found is not None
            return found[1], shown

        async def changes(since: str) -> dict[str, Any]:
            told: dict[str, Any] = await (await client.get(f"/changes?since={since}")).json()
            return told

        nothing, _ = await state("has not begun")
        first, _ = await state("<h2>Terms</h2>")
        assert await changes(nothing) == {"state": first}
        same = await changes(first)
        assert (same["state"], same["pieces"], same["changed"], same["data"]) == (first, {}, {}, None)
        everything = await changes("0" * 16)
        assert {"header", "trials"} < set(everything["pieces"])
        assert len(everything["changed"]) == the.TRIALS
        (tmp_path / record.JOURNAL).write_text(text.replace("<h2>Terms</h2>", "<h2>Words</h2>"))
        second, _ = await state("<h2>Words</h2>")
        told = await changes(first)
        assert (told["state"], list(told["pieces"])) == (second, ["terms"])
        for at in range(source.KEPT):
            (tmp_path / record.JOURNAL).write_text(text.replace("<h2>Terms</h2>", f"<h2>{at}</h2>"))
            await state(f"<h2>{at}</h2>")
        assert {"header", "trials"} < set((await changes(first))["pieces"])

    _with(_source(tmp_path, texts), ask)
