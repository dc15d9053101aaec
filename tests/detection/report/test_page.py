"""The report: one page that opens without a network, where names are text, in a real browser where there is one."""

import json
import re
from html.parser import HTMLParser

from backbones.errors import InputError
from detection.comparison.rows import groups_of, rows_of
from detection.report.charts import frontier
from detection.report.page import write_report
from detection.report.worst import KINDS, worst_pictures
from tools.report import parse, work

import pytest
from browser import CHROMIUM, look
from finished_runs import finished_run, write_truth
from run_tools import assert_clear_error, run_tool

EVIL = ("<script>alert(1)</script>", "x\"y'&$a_b$</svg>", "{{ 7 * 7 }}")
browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed (apt-get install chromium)")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("<b>runs")
    truth, images = write_truth(root, EVIL, count=30)
    one = finished_run(root / "one", truth, images, noise=0.5)
    two = finished_run(root / "two", truth, images, network="resnet50_fpn", noise=8, keep=0.7)
    return [one, two]


@pytest.fixture(scope="module")
def page(runs):
    return write_report(rows_of(groups_of(runs)), runs[0].parent / "report.html")


class Elements(HTMLParser):
    """Names, attributes and text of all elements."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)


def test_names_are_text_never_markup(page):
    text = page.read_text()
    parsed = Elements(text)
    assert [tag for tag, _ in parsed.elements].count("script") == 1 and "alert(1)</script>" not in text
    shown = "".join(parsed.texts)
    assert all(name in shown for name in EVIL) and "49" not in [t.strip() for t in parsed.texts]
    options = [a.get("value") for tag, a in parsed.elements if tag == "option"]
    assert set(EVIL) <= set(options)
    svg_texts = re.findall(r"<text [^>]*>([^<]*)</text>", text)
    assert any("&lt;script&gt;alert(1)" in t for t in svg_texts)  # in a chart
    assert "<b>runs" not in text


def test_the_page_needs_nothing_else(page):
    text = page.read_text()
    assert len(text.encode()) < 10_000_000
    for tag, attributes in Elements(text).elements:
        for key in ("src", "href", "xlink:href", "action"):
            assert attributes.get(key, "#").startswith(("#", "data:")), (tag, attributes)
    assert "http" not in re.sub(r'(xmlns[:a-z]*|http-equiv)="[^"]*"|http-equiv', "", text.split("<main>")[0])
    assert "@import" not in text and text.count("default-src 'none'") == 1


def test_every_part_is_there(page, runs):
    text = page.read_text()
    sections = re.findall(r'<section id="(\w+)">', text)
    assert sections == [
        "figures",
        "differences",
        "costs",
        "training",
        "classes",
        "errors",
        "curves",
        "pictures",
        "data",
        "runs",
    ]
    for section in sections:
        assert f'href="#{section}"' in text
    for row in rows_of(groups_of(runs)):
        estimate = row.estimate("AP")
        assert f"{estimate.value:.1f} [{estimate.low:.1f}, {estimate.high:.1f}]" in text
    content = json.loads(next(runs[0].rglob("errors.json")).read_text())
    assert f"<td>{content['dAP50']['Bkg']:.1f}</td>" in text
    assert "BASE_LR: 0.02" in text and "torch" in text and str(runs[1].name) in text


def test_worst_images_have_the_kinds_of_error_that_tide_finds():
    box = [0, 0, 100, 100]
    record = {"file_name": "a.jpg", "width": 300, "height": 300, "annotations": []}
    for kind, x in ((0, 0), (0, 150), (1, 0)):
        y = 150 if kind else 0
        record["annotations"].append({"bbox": [x, y, x + 100, y + 100], "category_id": kind, "iscrowd": 0})
    empty = {**record, "file_name": "b.jpg", "annotations": []}
    found = [
        {"image": 0, "class": 0, "bbox": box, "score": 0.9},
        {"image": 0, "class": 0, "bbox": box, "score": 0.8},
        {"image": 0, "class": 0, "bbox": [0, 150, 100, 100], "score": 0.7},  # of the other class
        {"image": 0, "class": 1, "bbox": [200, 200, 50, 50], "score": 0.2},  # too low to be listed
        {"image": 1, "class": 1, "bbox": box, "score": 0.6},
    ]
    first, second = worst_pictures([record, empty], found, ["cell", "platelet"])
    assert first.name == "a.jpg" and [(c, s) for c, s, _ in first.correct] == [("cell", 0.9)]
    assert [(e.kind, e.category, e.score, e.expected) for e in first.errors] == [
        ("Dupe", "cell", 0.8, ""),
        ("Cls", "cell", 0.7, "platelet"),
        ("Miss", "cell", None, ""),
    ]
    assert [(e.kind, e.box) for e in second.errors] == [("Bkg", (0.0, 0.0, 100.0, 100.0))]
    assert {e.kind for e in (*first.errors, *second.errors)} <= set(KINDS)


def test_the_frontier_has_the_detectors_that_none_beats():
    assert frontier([(3, 30), (1, 10), (2, 30), (4, 29), (1, 12), (5, 31)]) == [(1, 12), (2, 30), (5, 31)]


def test_the_tool_writes_the_page(runs, tmp_path):
    done = run_tool("report.py", *runs, "--output", tmp_path / "r.html")
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.strip() == str(tmp_path / "r.html") and "resnet50 FPN random" in (tmp_path / "r.html").read_text()
    )
    assert_clear_error(run_tool("report.py", tmp_path), "holds no finished run of a detector")
    assert_clear_error(run_tool("report.py", runs[0], "--output", tmp_path), "ends in .html")


def test_the_page_of_several_runs_lies_in_none_of_them(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {run: sorted(run.iterdir()) for run in runs}
    work(parse([*map(str, runs)]))
    assert (tmp_path / "report.html").is_file() and {run: sorted(run.iterdir()) for run in runs} == before
    with pytest.raises(InputError, match="exists; name the page with --output"):
        work(parse([*map(str, runs)]))


def test_a_page_without_data_says_so(runs, tmp_path):
    """Nothing but config and results, as of an old run."""
    for name in ("config.yaml", "results.json"):
        (tmp_path / name).write_text((runs[0] / name).read_text().replace("/val.json", "/gone.json"))
    text = write_report(rows_of({"old": [tmp_path]}), tmp_path / "report.html").read_text()
    assert "no intervals: " in text and "gone.json" in text and 'id="pictures"' not in text


@browser
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_opens_the_page_and_filters(page, dark):
    script = """
        const form = document.getElementById("filter"), all = document.querySelectorAll(".card").length;
        const seen = (selector) => [...document.querySelectorAll(selector)].filter(e => e.offsetParent !== null);
        const cards = () => seen(".card").length, errors = () => seen(".card li").map(e => e.dataset);
        const drawn = (box) => box.style.display !== "none";
        const boxes = () => [...document.querySelectorAll("[data-error]")].filter(drawn).length;
        const set = (name, value) => {
            form.elements[name].value = value;
            form.dispatchEvent(new Event("input"));
        };
        const found = { all, start: cards() };
        set("kind", "Bkg");
        found.kinds = [...new Set(errors().map(e => e.kind))];
        found.boxes = boxes() - errors().length;
        set("category", "<script>alert(1)</" + "script>");
        found.classes = [...new Set(errors().map(e => e.category))];
        set("kind", "");
        set("category", "");
        set("score", 0.9);
        found.least = Math.min(...errors().filter(e => e.score).map(e => Number(e.score)));
        set("score", 0.3);
        set("row", form.elements.row.options[1].value);
        found.rows = cards();
        form.reset();
        await new Promise(r => setTimeout(r, 50));
        found.end = cards();
        found.back = getComputedStyle(document.body).backgroundColor;
        return found;
    """
    found, console = look(page, script, dark=dark)
    assert console == [] and isinstance(found, dict), (found, console)
    assert found["start"] == found["all"] == found["end"] > 5 and 0 < found["rows"] < found["all"]
    assert found["kinds"] == ["Bkg"] and found["boxes"] == 0 and found["classes"] == [EVIL[0]]
    assert found["least"] >= 0.9 and found["back"] == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")


@browser
def test_the_browser_hears_errors(tmp_path):
    (tmp_path / "page.html").write_text("<!DOCTYPE html><body></body>")
    found, console = look(tmp_path / "page.html", "setTimeout(() => nothing.there); return [1, '<']")
    assert found == [1, "<"] and "nothing is not defined" in console[0]


@browser
def test_the_page_fits_a_phone_and_a_keyboard(page):
    script = """
        document.querySelectorAll("details").forEach(d => { d.open = true; });
        const found = { page: document.documentElement.scrollWidth, window: innerWidth, wide: [] };
        for (const e of document.querySelectorAll("body *"))
            if (!e.closest(".scroll, svg, pre") && e.getBoundingClientRect().right > innerWidth + 1)
                found.wide.push(e.tagName);
        const controls = "a[href], select, input, button, summary, .scroll, pre";
        const lost = (e) => { e.focus(); return document.activeElement !== e; };
        found.lost = [...document.querySelectorAll(controls)].filter(lost).map(e => e.tagName);
        return found;
    """
    found, console = look(page, script, width=400)
    assert console == [] and found == {"page": 400, "window": 400, "wide": [], "lost": []}
