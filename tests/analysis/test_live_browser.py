"""A sweep that runs, looked at in a real browser: points appear by themselves, and a page that is closed hurts nobody."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.analysis.devtools import tab

pytest.importorskip("aiohttp")
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

_SPACE = """
name: watched
judge: {data: {name: digits, validation: 300}, threat: {eps: 0.05}, images: {validation: 40, test: 40}}
trial:
  batch: {size: 100}
  model: {name: small_cnn, width: 2}
  defense: {name: trades, beta: {loguniform: [0.5, 5]}}
  schedule: {epochs: 1}
search: {trials: 40}  # long enough for a browser to come, on any machine
"""
_MARKS = "(document.getElementById('frontier')?.data ?? []).flatMap((one) => [...(one.customdata ?? [])])"
_HOVER = "document.querySelector('#frontier .hoverlayer .hovertext')?.textContent ?? ''"
_PLACE = """(() => {
  const gd = document.getElementById('frontier');
  gd.scrollIntoView({ block: 'center' });
  const at = gd.getBoundingClientRect();
  const { xaxis, yaxis } = gd._fullLayout;
  const inside = (trace, row) => [xaxis.d2p(trace.x[row]), yaxis.d2p(trace.y[row])];
  const found = gd.data.filter((one) => one.customdata).flatMap((one) => [...one.customdata].map((_, row) => inside(one, row)));
  const [x, y] = found.find(([x, y]) => x > 0 && x < xaxis._length && y > 0 && y < yaxis._length);
  return [at.x + xaxis._offset + x, at.y + yaxis._offset + y];
})()"""


def test_a_point_appears_while_the_sweep_runs(browser: str, tmp_path: Path) -> None:
    space = tmp_path / "watched.yaml"
    space.write_text(_SPACE)
    script = Path(__file__).parents[2] / "run_sweep.py"
    command = [sys.executable, str(script), str(space), "--backend", "local", "--watch", "--results", str(tmp_path)]
    sweep = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert sweep.stdout is not None
    said = sweep.stdout.readline()
    assert said.startswith("live page: http://127.0.0.1:"), said
    try:
        with tab(browser) as shown:
            shown.size(1280, 900)
            shown.open(said.split()[-1])
            shown.until(f"{_MARKS}.length > 0", 400)
            for _ in range(100):  # what is new may take the place of what is pointed at
                x, y = shown.says(_PLACE)
                shown.move(x - 4, y)
                shown.move(x, y)
                hover = shown.says(_HOVER)
                if hover:
                    break
                time.sleep(0.1)
            assert "defense.beta = " in hover
            assert shown.says("document.getElementById('live-state').textContent").startswith("Live")
            assert shown.errors == []
    except BaseException:
        sweep.kill()
        raise
    rest = sweep.stdout.read()  # nobody looks any more
    assert sweep.wait() == 0, rest
    assert "all done: 40 complete" in rest
