"""The page in a real browser: no sideways scrolling on a telephone or a desk, no request to anywhere."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fabricated import cleaning_funnel
from test_funnel import comparison, preview

from groundup.report import beside, funnel, page
from groundup.run import Run, write_json

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

# The page forbids scripts; a copy without that policy measures itself, with everything unfolded. It stands in a frame,
# because chromium's own window is never narrower than 500 pixels.
PROBE = """<script>addEventListener("load", () => {
  document.querySelectorAll("details").forEach(one => one.open = true);
  const cut = [...document.querySelectorAll("main *, header *")].filter(one => !one.closest(".scrolls") && one.getBoundingClientRect().right > innerWidth + 1);
  parent.document.title = JSON.stringify({
    inner: innerWidth, scroll: document.documentElement.scrollWidth, cut: cut.map(one => one.tagName + "." + one.className),
    requests: performance.getEntriesByType("resource").map(one => one.name),
    small: [...document.querySelectorAll("svg text")].map(one => one.getBoundingClientRect().height).filter(height => height < 10).length,
  });
});</script>"""


def measure(source: str, folder: Path, width: int) -> dict[str, Any]:
    """What a copy of a page says about itself in a frame of that width."""
    copy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", source).replace(
        "</body>", PROBE + "</body>"
    )
    frame = folder / "frame.html"
    frame.write_text(
        f'<meta charset="utf-8"><title></title><body><iframe width="{width}" height="900" style="border:0" srcdoc="{html.escape(copy)}"></iframe>',
        encoding="utf-8",
    )
    assert CHROMIUM is not None
    dumped = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--hide-scrollbars", f"--user-data-dir={folder / 'profile'}",
            "--window-size=1400,1000", "--dump-dom", frame.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    title = re.search("<title>(.*?)</title>", dumped, re.DOTALL)
    assert title is not None
    found: dict[str, Any] = json.loads(html.unescape(title[1]))
    assert found["inner"] == width
    return found


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_asks_for_nothing(finished: Run, tmp_path: Path, width: int) -> None:
    found = measure(page.write(finished).read_text(encoding="utf-8"), tmp_path, width)
    assert found["scroll"] <= width
    assert found["cut"] == [] and found["requests"] == []
    assert found["small"] == 0, "letters in a chart are too small to read"


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["funnel", "preview", "comparison"])
def test_the_pages_beside_it_fit_too(finished: Run, tmp_path: Path, name: str, width: int) -> None:
    write_json(finished.path / "corpus/clean/funnel.json", cleaning_funnel())
    html = {"funnel": lambda: funnel.render(finished), "preview": lambda: beside.render_preview(preview()), "comparison": lambda: beside.render_comparison(comparison())}[name]()
    assert html is not None
    found = measure(html, tmp_path, width)
    assert found["scroll"] <= width
    assert found["cut"] == [] and found["requests"] == []
    assert found["small"] == 0, "letters in a chart are too small to read"


def test_the_probe_sees_what_it_should(finished: Run, tmp_path: Path) -> None:
    bad = '<img src="http://127.0.0.1:9/x.png"><div style="width:3000px">wide</div></main>'
    found = measure(page.write(finished).read_text(encoding="utf-8").replace("</main>", bad), tmp_path, 390)
    assert found["scroll"] >= 3000 and found["cut"] and found["requests"] == ["http://127.0.0.1:9/x.png"]
