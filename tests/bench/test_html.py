#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""The report page in a real browser: headless Chromium draws it, and the plots are looked at."""

import os
import re
import shutil
import subprocess

from lib import Skip, check, equal, expect, main, raises, run
from lib.sample import result_document

from ringtun_bench import document, errors, plots

WIDTH, HEIGHT = 1200, 9000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Titles of the pictures that the issue of a report is.
PICTURES = ("TCP throughput", "TCP by number of streams", "TCP by number of CPUs for everything",
            "Highest rate without loss", "Loss against offered load",
            "Delivered when the sender does not hold back",
            "CPU time of the daemons per packet, under overload", "Ping round trip, idle",
            "UDP round trip, during one TCP stream", "Datagrams by number of peers",
            "Through a gateway", "Setting connections up")


def need_matplotlib():
    if plots.matplotlib is None:
        raise Skip("needs matplotlib")


def browser():
    for name in BROWSERS:
        if shutil.which(name):
            return name
    raise Skip("needs headless Chromium")


PAGES = []  # the text of the sample document's page, once it was made


def page(directory, doc=None):
    """Path of a report made by the program itself from a results file; of the sample without @doc."""
    path = os.path.join(directory, "r.html")
    if doc or not PAGES:
        make_page(directory, path, doc or result_document())
    if not doc and not PAGES:
        with open(path) as f:
            PAGES.append(f.read())
    if not doc:
        with open(path, "w") as f:
            f.write(PAGES[0])
    return path


def make_page(directory, path, doc):
    results = os.path.join(directory, "r.json")
    document.write(doc, results)
    r = run("report", results, "--html", path)
    expect(r.returncode == 0, r.stderr)


def browse(directory, *args):
    """Runs the browser without network."""
    argv = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={directory}/profile", *args]
    r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=100,
                       check=False)
    expect(r.returncode == 0, f"the browser failed: {r.stderr[-300:]}")
    return r.stdout


def near(image, colour, tolerance=0.02):
    """How many pixels have a colour."""
    wanted = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    mask = abs(image[:, :, 0] - wanted[0]) < tolerance
    for i in (1, 2):
        mask &= abs(image[:, :, i] - wanted[i]) < tolerance
    return int(mask.sum())


@check("the page refers to nothing outside of itself")
def self_contained(directory):
    need_matplotlib()
    with open(page(directory)) as f:
        text = f.read()
    visible = re.sub(r"<script type='application/json'.*?</script>", "", text, flags=re.S)
    expect(not re.search(r"<(?:script|link|iframe|object|embed)\b", visible), "something is loaded")
    for attribute in re.findall(r"(?:src|href)\s*=\s*[\"']([^\"']*)", visible):
        expect(attribute.startswith(("#", "data:")), f"refers to {attribute[:80]}")
    expect("@import" not in text and not re.search(r"url\((?!#|[\"']?#)", visible), "a style is loaded")


@check("ids are unique, so that no picture clips another", timeout=120)
def unique_ids(directory):
    need_matplotlib()
    with open(page(directory)) as f:
        text = f.read()
    defined = re.findall(r"<clipPath id=\"([^\"]+)\"", text)
    expect(len(defined) > 5, "no clip path found: this test shows nothing")
    equal(len(defined), len(set(defined)), "clip paths")


@check("Chromium lays out every picture, without an error", timeout=180)
def dom(directory):
    need_matplotlib()
    text = browse(directory, "--dump-dom", f"file://{page(directory)}")
    drawn = re.findall(r"<figure>\s*<svg", text)
    expect(len(drawn) >= len(PICTURES) - 2, f"only {len(drawn)} pictures")
    for title in PICTURES:
        expect(title in text, f"no picture called {title}")
    expect("wireguard-go" in text and "The machine was quiet" in text, "text is missing")


@check("the plots are there to see: bars and lines in each implementation's colour", timeout=180)
def screenshot(directory):
    need_matplotlib()
    doc = result_document()
    shot = os.path.join(directory, "shot.png")
    browse(directory, f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={shot}",
           f"file://{page(directory)}")
    image = plots.pyplot.imread(shot)
    equal(image.shape[:2], (HEIGHT, WIDTH), "size of the screenshot")
    colours = plots.Palette(doc).colours
    for name, least in (("ringtun", 20000), ("wireguard-go", 8000), ("raw", 20000)):
        seen = near(image, colours[name])
        expect(seen > least, f"only {seen} pixels in the colour of {name}")
    expect(near(image, "#CC79A7") < 500, "a colour that nobody has: this test shows nothing")
    expect(0.5 < float((image[:, :, :3].min(axis=2) > 0.97).mean()) < 0.99, "blank, or not a page")


# Pairs of texts of one picture that cover each other by more than a pixel or two, as the browser lays
# them out, and texts that stick out of their picture.
OVERLAPS = """<script>
const found = [];
for (const svg of document.querySelectorAll("figure svg")) {
  const frame = svg.getBoundingClientRect();
  const boxes = [...svg.querySelectorAll("text")].filter(t => t.textContent.trim())
    .map(t => [t.textContent.trim(), t.getBoundingClientRect()]);
  for (const [i, [a, r]] of boxes.entries()) {
    if (r.left < frame.left - 3 || r.right > frame.right + 3 || r.top < frame.top - 3
        || r.bottom > frame.bottom + 3) found.push("sticks out: " + a);
    for (const [b, q] of boxes.slice(i + 1))
      if (Math.min(r.right, q.right) - Math.max(r.left, q.left) > 2
          && Math.min(r.bottom, q.bottom) - Math.max(r.top, q.top) > 3) found.push(a + " / " + b);
  }
}
document.title = "OVERLAPS " + found.length + " " + found.slice(0, 10).join("; ");
</script>"""


def overlaps(directory, path):
    """(number of texts that cover others, the first of them in words)"""
    with open(path) as f:
        text = f.read()
    probe = os.path.join(directory, "probe.html")
    with open(probe, "w") as f:
        f.write(text.replace("</body>", OVERLAPS + "</body>"))
    title = re.search(r"<title>OVERLAPS ([0-9]+) ?(.*?)</title>", browse(
        directory, f"--window-size={WIDTH},{HEIGHT}", "--dump-dom", f"file://{probe}"), re.S)
    expect(title, "the probe did not run")
    return int(title[1]), title[2]


@check("no text in a picture covers another or sticks out", timeout=180)
def legible(directory):
    need_matplotlib()
    names = ("ringtun", "wireguard-go", "gotatun", "boringtun", "null", "raw")
    n, words = overlaps(directory, page(directory, result_document(names=names)))
    expect(n == 0, f"{n}: {words}")
    with open(page(directory)) as f:
        text = f.read()
    broken = os.path.join(directory, "broken.html")
    with open(broken, "w") as f:  # every text larger, as if a picture had been scaled
        f.write(text.replace("</style>", "figure text { font-size: 30px !important; }</style>", 1))
    expect(overlaps(directory, broken)[0] > 20, "large text overlaps nothing: this test shows nothing")


@check("a bar is as high as its figure", timeout=180)
def heights(directory):
    need_matplotlib()
    doc = result_document(names=("ringtun", "wireguard-go"), case_names=("tcp-1",))
    palette = plots.Palette(doc)
    figure = plots.throughput(doc, palette)
    values = sorted(p.get_height() for p in figure.axes[0].patches)
    medians = sorted(r["summary"]["median"] for r in doc["cases"][0]["results"])
    equal([round(v, 9) for v in values], [round(m, 9) for m in medians])


@check("names and errors can not break the page")
def escaped(directory):
    need_matplotlib()
    doc = result_document(case_names=("tcp-1",))
    doc["failures"] = ["<script>alert(1)</script>"]
    doc["implementations"][0]["command"] = "</script><b>x"
    with open(page_of_failed(directory, doc)) as f:
        text = f.read()
    equal(text.count("</script>"), 1, "ends of scripts")
    expect("<b>x" not in text.split("<script type=")[0] and "<script>alert" not in
           text.split("<script type=")[0], "not escaped")


def page_of_failed(directory, doc):
    results, path = os.path.join(directory, "f.json"), os.path.join(directory, "f.html")
    document.write(doc, results)
    equal(run("report", results, "--html", path).returncode, 1, "status of a run with failures")
    return path


@check("a picture for a README, as SVG and as PNG")
def picture(directory):
    need_matplotlib()
    doc = result_document()
    for name, start in (("a.svg", b"<?xml"), ("a.png", b"\x89PNG")):
        path = os.path.join(directory, name)
        plots.save(plots.picture(doc), path)
        with open(path, "rb") as f:
            expect(f.read(8).startswith(start), f"{name} is no picture")
    raises(errors.BenchError, plots.picture, result_document(case_names=("idle",)))
    raises(errors.BenchError, plots.save, plots.picture(doc), os.path.join(directory, "x", "y.png"))


@check("runs with one case, one implementation or no result at all still make a page")
def sparse(directory):
    need_matplotlib()
    page(directory, result_document(names=("ringtun",), case_names=("tcp-1",)))
    page(directory, result_document(names=("raw",), case_names=("ping-idle",), rounds=1))
    page(directory, result_document(case_names=()))


main()
