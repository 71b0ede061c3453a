"""A headless Chromium driven through its DevTools protocol: real clicks and keys, and every error that a page makes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-port=0", "--disable-dev-shm-usage",
)  # fmt: skip
_TASKS = "disabled-by-default-devtools.timeline"
_PATIENCE = 240.0  # seconds for one answer; the machine may be busy


class Tab:
    """One page. Its methods wait for what they ask."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.errors: list[str] = []
        """What the console was told as an error, exceptions nobody caught, and what the security policy refused."""
        self._loop, self._socket, self._numbers = loop, socket, count(1)
        self._seen, self._traced = set[str](), list[dict[str, Any]]()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, params), _PATIENCE))

    def open(self, address: str) -> None:
        """Goes to an address and waits until it is loaded."""
        self._seen.discard("Page.loadEventFired")
        self.call("Page.navigate", url=address)
        self._loop.run_until_complete(asyncio.wait_for(self._until("Page.loadEventFired"), _PATIENCE))

    def says(self, script: str) -> Any:
        """The value of an expression; a promise is waited for. Raises AssertionError for an exception in it."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def until(self, script: str, seconds: float = 60.0) -> Any:
        """Waits until an expression is true, and returns its value."""
        ends = time.monotonic() + seconds
        while not (value := self.says(script)):
            assert time.monotonic() < ends, f"never true: {script}"
            time.sleep(0.1)
        return value

    def press(self, key: str, code: int) -> None:
        """A key goes down and up, with its virtual key code."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def move(self, x: float, y: float) -> None:
        """The pointer goes to a place of the window, in pixels."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x: float, y: float) -> None:
        """A click of the left button at a place of the window, in pixels."""
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def size(self, width: int, height: int = 900, *, dark: bool = False, media: str = "") -> None:
        """The window's size in pixels, the theme that the reader's system asks for, and "print" for how it is printed."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        width, height = self.says("[innerWidth, document.documentElement.scrollHeight]")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        told = self.call("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(told["data"]))

    def trace(self) -> None:
        """Begins to note what the page's main thread does."""
        self._traced.clear()
        self.call("Tracing.start", categories=_TASKS, transferMode="ReportEvents")

    def tasks(self) -> list[float]:
        """Processor time of each task of the page's main thread since `trace`, in ms: no other program lengthens it."""
        self._seen.discard("Tracing.tracingComplete")
        self.call("Tracing.end")
        self._loop.run_until_complete(asyncio.wait_for(self._until("Tracing.tracingComplete"), _PATIENCE))
        named = [each for each in self._traced if each["name"] == "thread_name"]
        main = {(each["pid"], each["tid"]) for each in named if each["args"]["name"] == "CrRendererMain"}
        run = (each for each in self._traced if each["name"] == "RunTask" and (each["pid"], each["tid"]) in main)
        return [each["tdur"] / 1000 for each in run if "tdur" in each]

    async def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    async def _until(self, event: str) -> None:
        while event not in self._seen:
            self._note(await self._socket.receive_json())

    def _note(self, message: dict[str, Any]) -> None:
        method, params = message.get("method", ""), message.get("params", {})
        self._seen.add(method)
        if method == "Tracing.dataCollected":
            self._traced += params["value"]
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(str(params["entry"]))


@contextlib.contextmanager
def tab(browser: str) -> Iterator[Tab]:
    """A fresh browser with one empty page, which ends with the block.

    Args:
        browser: the program.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        loop = asyncio.new_event_loop()
        session = loop.run_until_complete(_session())
        try:
            socket = loop.run_until_complete(_connect(session, Path(profile) / "DevToolsActivePort"))
            found = Tab(loop, socket)
            for domain in ("Page", "Runtime", "Log"):
                found.call(f"{domain}.enable")
            yield found
        finally:
            process.kill()
            process.wait()
            loop.run_until_complete(session.close())
            loop.close()


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession()


async def _connect(session: aiohttp.ClientSession, port_file: Path) -> aiohttp.ClientWebSocketResponse:
    ends = time.monotonic() + _PATIENCE
    while True:
        try:
            port = int(port_file.read_text().split()[0])
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [each for each in await answer.json() if each["type"] == "page"]
            return await session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)
        except (OSError, ValueError, IndexError, aiohttp.ClientError):
            if time.monotonic() > ends:
                raise
            await asyncio.sleep(0.1)
