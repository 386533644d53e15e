"""Pages in a real browser, headless Chromium: what it lays out, and what it complains of."""

import functools
import json
import re
import shutil
import subprocess
from html import escape

import pytest

DARK = "--blink-settings=preferredColorScheme=0"
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--v=0",
)

# Written into a copy of the page: what only a browser that has laid it out can tell.
PROBE = """<script>
addEventListener("load", () => {
  const found = {
    width: innerWidth, page: document.documentElement.scrollWidth,
    background: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    requests: performance.getEntriesByType("resource").length,
    figures: {},
  };
  for (const svg of document.querySelectorAll("svg")) {
    const box = svg.getBoundingClientRect();
    const shown = Array.from(svg.querySelectorAll("path, use, rect, line, polyline, circle"));
    const inside = shown.filter(part => part.getBoundingClientRect().width > 0);
    const strokes = shown.map(part => getComputedStyle(part).stroke);
    found.figures[svg.closest("figure")?.id ?? "drawing"] = {
      width: box.width, height: box.height, drawn: inside.length, strokes: [...new Set(strokes)],
    };
  }
  const note = document.createElement("pre");
  note.id = "probe";
  note.textContent = JSON.stringify(found);
  document.body.append(note);
});
</script>"""


FRAME = """<!doctype html><body>
<iframe id="frame" style="border: 0; width: {width}px; height: 3000px" srcdoc="{page}"></iframe>
<script>
document.getElementById("frame").addEventListener("load", event => {{
  document.body.append(event.target.contentDocument.getElementById("probe"));
}});
</script></body>"""


@functools.cache
def chromium():
    return shutil.which("chromium") or shutil.which("chromium-browser")


def brightness(colour):
    """Of a colour as CSS has it, 0 to 765."""
    return sum(int(part) for part in re.findall(r"\d+", colour)[:3])


@pytest.fixture
def browse(tmp_path):
    """Opens a page in headless Chromium; returns its standard output and console lines."""
    if not chromium():
        pytest.skip("there is no chromium here to open the report in (apt-get install chromium)")

    def opened(page, *options):
        command = [chromium(), *QUIET, f"--user-data-dir={tmp_path / 'profile'}", *options]
        done = subprocess.run(
            [*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
        )
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return opened


@pytest.fixture
def probe(browse, tmp_path):
    """What a browser finds in a page, and that it complained of nothing."""

    def probed(page, *options, width=None):
        html = page.read_text().replace("</body>", f"{PROBE}</body>")
        if "script-src" not in html:  # a page without a script allows none
            html = html.replace("'none';", "'none'; script-src 'unsafe-inline';", 1)
        if width:
            # A window is never narrower than 500 pixels; a frame is.
            html = FRAME.format(width=width, page=escape(html, quote=True))
        copy = tmp_path / "probed.html"
        copy.write_text(html)
        dom, complaints = browse(copy, "--dump-dom", *options)
        assert not complaints
        return json.loads(re.search(r'<pre id="probe">(.*?)</pre>', dom, re.DOTALL)[1])

    return probed
