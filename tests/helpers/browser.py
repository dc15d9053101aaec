"""Opens a page in headless Chromium, runs a script there, and gives its value and the messages of the console."""

import json
import re
import shutil
import subprocess
from html import unescape

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

_FRAME = """<!DOCTYPE html><meta charset="utf-8"><body style="margin:0"><script>
const frame = document.createElement("iframe");
frame.style = "border:0;width:WIDTHpx;height:4000px";
frame.srcdoc = PAGE;
document.body.append(frame);
addEventListener("message", (event) => {
  const found = document.createElement("pre");
  found.id = "found";
  found.textContent = event.data;
  document.body.append(found);
});
</script>"""
_SCRIPT = """(async () => {
  let value;
  try { value = await (async () => { SCRIPT })(); } catch (error) { value = String(error); }
  const text = JSON.stringify(value);
  if (parent !== window) return parent.postMessage(text, "*");
  const found = document.createElement("pre");
  found.id = "found";
  found.textContent = text;
  document.body.append(found);
})();"""


def look(page, script, *, width=1280, dark=False, screenshot=None):
    """Opens a copy of a page.

    Args:
        page: the file.
        script: JavaScript; its last statement returns a value of plain parts.
        width: of the page in pixels. The page is opened in a frame, since windows have a least width.
        dark: whether the reader prefers dark pages.
        screenshot: file of a picture, or None.

    Returns:
        the value, and the lines that the console has printed.
    """
    inner = page.read_text(encoding="utf-8").replace("</body>", f"<script>{_run(script)}</script></body>")
    copy = page.with_name(f"{page.stem}-opened.html")
    if width < 500:
        frame = json.dumps(inner).replace("<", "\\u003c")
        inner = _FRAME.replace("WIDTH", str(width)).replace("PAGE", frame)
    copy.write_text(inner, encoding="utf-8")
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--enable-logging=stderr",
    ]
    command += [
        f"--window-size={max(width, 500)},4000",
        "--virtual-time-budget=20000",
        f"--user-data-dir={copy}.profile",
    ]
    command += ["--blink-settings=preferredColorScheme=0"] if dark else []
    found = subprocess.run(
        [*command, "--dump-dom", copy.as_uri()], capture_output=True, text=True, timeout=300, check=True
    )
    if screenshot:
        subprocess.run(
            [*command, f"--screenshot={screenshot}", copy.as_uri()], capture_output=True, timeout=300, check=True
        )
    (value,) = re.findall(r'<pre id="found">(.*?)</pre>', found.stdout, flags=re.S)
    console = [line for line in found.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(unescape(value)), console


def _run(script):
    return _SCRIPT.replace("SCRIPT", script)
