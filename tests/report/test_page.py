"""The page in a real browser, at three widths and in both themes: nothing overflows, nothing is logged."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path

import pytest

from advisor.advice.recommend import recommend
from harness.records.runs import Results
from harness.report import write_report
from harness.report.advice_page import Asked, advice_page
from tests.helpers.paths import ROOT
from tests.helpers.priors import prior_of
from tests.helpers.studies import play, prior_leaning_wins, study_of

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
WIDTHS = (400, 820, 1400)
THEMES = {"dark": 0, "light": 1}
"""As Chromium numbers preferred colour schemes."""
ALONE = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom",
)  # fmt: skip
"""Flags of a browser that shows one page and asks no host for anything."""
HOST = """<!doctype html><meta charset="utf-8"><body><pre id="found"></pre><script>
const pages = %s, found = [];
for (const [name, page] of Object.entries(pages)) for (const width of %s) {
  const frame = document.createElement("iframe");
  frame.style = `width: ${width}px; height: 900px; border: 0`;
  frame.onload = () => {
    const root = frame.contentDocument.scrollingElement;
    const ink = getComputedStyle(frame.contentDocument.body).color;
    found.push({name, width, needed: root.scrollWidth, ink,
      empty: [...frame.contentDocument.querySelectorAll("figure")].filter(f => f.clientHeight < 20).length,
      figures: frame.contentDocument.querySelectorAll("figure").length});
    document.getElementById("found").textContent = JSON.stringify(found);
  };
  frame.srcdoc = page;
  document.body.append(frame);
}
</script>"""
LONG = "a-model-with-a-long-name-" * 3


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A study, and a recommendation alone."""
    folder = tmp_path_factory.mktemp("records")
    study = study_of(tasks=("t",), model=LONG)
    for run in play(study, prior_leaning_wins):
        steps = (
            ()
            if run.spec.arm.method == "base"
            else ({"step": 1, "nll": 2.0}, {"step": 2, "nll": 1.0})
        )
        Results(folder).write(replace(run, steps=steps))
    command = f"advisor recommend {LONG} d.jsonl --temperature 1"
    asked = Asked(
        model=LONG, dataset="d.jsonl", next=command, commands=(command,), measured="2026-03-01",
        written=date(2026, 3, 4), versions={"python": "3.11"},
    )  # fmt: skip
    advice = recommend(prior_of(0.5, histogram=[5] * 20), temperature=1.0)
    study_page = write_report(folder).path.read_text(encoding="utf-8")
    return {"study": study_page, "advice": advice_page(advice, asked)}


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
@pytest.mark.parametrize("theme", THEMES)
def test_nothing_overflows_and_the_console_is_empty(
    theme: str, pages: dict[str, str], tmp_path: Path
) -> None:
    """Protects readers on telephones and in dark rooms; widths are of the frame that the page stands in."""
    shown = json.dumps(pages).replace("<", "\\u003c")
    (tmp_path / "host.html").write_text(HOST % (shown, list(WIDTHS)), encoding="utf-8")
    done = subprocess.run(
        [str(BROWSER), *ALONE, f"--user-data-dir={tmp_path / 'profile'}",
         f"--blink-settings=preferredColorScheme={THEMES[theme]}", str(tmp_path / "host.html")],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    [text] = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout)
    found = json.loads(text)
    assert {(one["name"], one["width"]) for one in found} == set(product(pages, WIDTHS))
    for one in found:
        assert one["needed"] <= one["width"], one
        assert one["figures"] and not one["empty"], one
    [ink] = {one["ink"] for one in found}
    bright = sum(map(int, re.findall(r"\d+", ink)[:3])) > 3 * 128
    assert bright == (theme == "dark"), ink


@pytest.mark.slow
def test_ten_studies_take_a_megabyte(tmp_path: Path) -> None:
    """Protects the size of the page: the committed studies, each with dozens of runs and seven figures."""
    report = write_report(ROOT / "results" / "confirm", tmp_path / "report.html")
    assert report.path.stat().st_size / len(report.headlines) <= 2**20 / 10
