"""The page in a real browser, against a stand-in that answers through `page.py`."""

import http.server
import io
import json
import shutil
import threading
import urllib.parse

import numpy as np
import pytest

from cpmn_tf.config import Config
from cpmn_tf.formats.detections import load_detections
from cpmn_tf.formats.subtitles import webvtt
from cpmn_tf.serving import page
from cpmn_tf.serving.protocol import HTTP_STATUS, Limits, Refusal
from cpmn_tf.training.model_folder import ModelManifest

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("needs Debian's chromium", allow_module_level=True)

STREAMS = {"rgb": 6, "flow": 4}
CLASSES = ("Cricket bowling & <batting>", "High jump", "Shot put")
TOKEN = "open sesame"


def features(units: int = 300, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(units, width)).astype("f4") for name, width in STREAMS.items()}


def outputs(video: page.Video, classes: int, most: int) -> tuple[dict, dict]:
    """What a model may answer: ``most`` detections of ``classes`` classes and smooth curves."""
    rng = np.random.default_rng(video.units)
    units, shape = video.units, (classes, len(STREAMS), video.units)
    time = np.linspace(0, 1, units) * np.ones(shape)
    drift = rng.uniform(2, 9, (*shape[:2], 1))
    cascaded = 3 * np.sin(drift * time * 6 + drift) + rng.normal(scale=0.3, size=shape)
    attention = 1 / (1 + np.exp(-4 * np.sin(drift * time * 3)))
    phi = attention / (1 + np.exp(-cascaded))
    starts = rng.uniform(0, 0.9, most) * video.duration
    ends = np.minimum(starts + rng.uniform(0.01, 0.12, most) * video.duration, video.duration)
    detected = {
        "segments": np.stack([starts, ends], 1)[np.newaxis].astype("f4"),
        "labels": rng.integers(0, classes, (1, most)).astype("i4"),
        "scores": np.sort(rng.uniform(0.05, 1.4, (1, most)).astype("f4"))[:, ::-1],
        "counts": np.array([most]),
        "status": np.array([0]),
    }
    scored = {
        "rows": np.stack([np.zeros(classes, int), np.arange(classes)], 1),
        "p_class": np.linspace(0.9, 0.2, classes).astype("f4"),
        "cascaded": cascaded,
        "attention": attention,
        "phi": phi,
        "act": phi.mean(1),
        "grid_lengths": np.array([units]),
        "unit_seconds": np.array([1 / video.rate]),
    }
    return detected, scored


class Site(http.server.ThreadingHTTPServer):
    """Serves the page; what it answers can be changed by its attributes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.reset()

    def reset(self, classes: tuple[str, ...] = CLASSES, most: int = 12) -> None:
        manifest = ModelManifest(config=Config(), streams=STREAMS, classes=classes)
        truth = ((classes[0], 4.0, 9.5), (classes[-1], 20.0, 31.0))
        example = page.Video(
            id="video_validation_42", features=features(), rate=6.25, duration=48.0, truth=truth
        )
        self.served = page.Served(
            name="cpmn",
            version=3,
            manifest=manifest,
            status=("fine",),
            limits=Limits(),
            example=example,
            encodes_video=True,
        )
        self.most = most
        self.token = ""

    def answer(self, query: dict[str, str], body: bytes) -> dict:
        def encode(path):
            return features(60), 6.0, 10.0

        video, top = page.read_video(self.served, query, body, encode)
        found = outputs(video, len(self.served.manifest.classes), self.most)
        return page.answer(self.served, video, *found, top)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Site

    def log_message(self, *_):
        pass

    def respond(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/":
            self.respond(200, page.index("cpmn"), page.HEADERS)
        else:
            self.json("/v1/models/cpmn/about", lambda query: page.about(self.server.served))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.json("/v1/models/cpmn:localize", lambda query: self.server.answer(query, body))

    def json(self, path, make):
        asked = urllib.parse.urlsplit(self.path)
        try:
            if self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
                raise Refusal("UNAUTHENTICATED", "give the server's token")
            if asked.path != path:
                raise Refusal("NOT_FOUND", f"{asked.path}: there is no such address")
            status, value = 200, make(dict(urllib.parse.parse_qsl(asked.query)))
        except Refusal as refusal:
            status, value = HTTP_STATUS[refusal.code], {"error": refusal.message}
        self.respond(
            status,
            json.dumps(value, allow_nan=False).encode(),
            {"Content-Type": "application/json"},
        )


@pytest.fixture(scope="module")
def server():
    site = Site()
    thread = threading.Thread(target=site.serve_forever, daemon=True)
    thread.start()
    yield site
    site.shutdown()
    site.server_close()
    thread.join(10)


@pytest.fixture
def site(server):
    server.reset()
    return server


@pytest.fixture(scope="module")
def window():
    """One for all tests: opening one takes longer than most of them."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        window = browser.new_page()
        window.set_default_timeout(20_000)
        yield window
        browser.close()


@pytest.fixture
def tab(window, site):
    """The page, opened; afterwards, that it asked its own server only and complained of nothing."""
    complaints, addresses = [], []
    listeners = {
        "console": lambda message: complaints.append(message.text),
        "pageerror": lambda error: complaints.append(str(error)),
        "request": lambda request: addresses.append(request.url),
    }
    for event, listener in listeners.items():
        window.on(event, listener)
    window.set_viewport_size({"width": 1280, "height": 900})
    window.emulate_media(color_scheme="light")
    window.mouse.move(0, 0)
    window.goto(site.address)
    window.get_by_text("version 3").wait_for()
    yield window
    for event, listener in listeners.items():
        window.remove_listener(event, listener)
    own = (f"{site.address}/v1/models/cpmn", "blob:", "data:")
    assert {url for url in addresses if not url.startswith(own)} == {f"{site.address}/"}
    # A browser itself reports every refusal that a test provokes.
    assert [line for line in complaints if "responded with a status of 40" not in line] == []


def example(tab) -> dict:
    """Presses the button and gives what the server answered."""
    with tab.expect_response("**:localize*") as waiting:
        tab.get_by_role("button", name="Try the example").click()
    tab.locator("#result").wait_for()
    return waiting.value.json()


def npz(units: int = 300, **changed: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **{**features(units), **changed})
    return file.getvalue()


def pick(tab, name: str, data: bytes) -> None:
    tab.set_input_files("#file", {"name": name, "mimeType": "", "buffer": data})


def complaint(tab) -> str:
    """The line of the error that is shown next."""
    tab.locator("#line.wrong").wait_for()
    return tab.locator("#line").inner_text()


def test_example_by_one_click(tab):
    found = example(tab)
    assert tab.locator("#title").inner_text() == "video_validation_42"
    assert len(found["detections"]) == 12
    cells = tab.locator("#rows td").all_inner_texts()
    assert list(zip(cells[::4], cells[3::4], strict=True)) == [
        (item["label"], f"{item['score']:.3f}") for item in found["detections"]
    ]
    assert tab.locator(".bar").count() == 12
    assert tab.locator(".plot.true").count() == 3 and tab.locator(".real").count() == 2
    assert tab.locator("path.phi").count() == tab.locator("path.cascaded").count() == 6
    assert "not a probability" in tab.locator("main").inner_text()


def test_no_example_no_button(tab, site):
    object.__setattr__(site.served, "example", None)
    tab.reload()
    tab.get_by_text("version 3").wait_for()
    assert not tab.locator("#example").is_visible()


def test_dropped_features(tab):
    data = list(npz())
    transfer = tab.evaluate_handle(
        """data => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(data)], "my clip.npz"));
          return transfer;
        }""",
        data,
    )
    tab.dispatch_event("body", "drop", {"dataTransfer": transfer})
    assert "how many units per second" in complaint(tab)
    assert tab.evaluate("document.activeElement.id") == "rate"
    tab.keyboard.type("12.5")
    tab.keyboard.press("Enter")
    tab.locator("#result").wait_for()
    assert tab.locator("#title").inner_text() == "my clip"
    assert tab.locator("#facts").inner_text() == "24.0 s · 300 units, 12.5 per second"
    assert tab.locator(".true").count() == 0


@pytest.mark.parametrize(
    "name, data, said",
    [
        ("a.npz", b"PK\x03\x04 no zip", "the .npz file is damaged"),
        ("a.npy", b"\x93NUMPY no array", "is not a NumPy array file"),
        ("a.npz", npz(rgb=np.zeros([300, 7])), "its shape is [300, 7]; it must be [units, 6]"),
        ("a.npz", npz(rgb=np.full([300, 6], np.nan)), "holds values that are NaN"),
    ],
)
def test_wrong_file_is_one_line_and_the_page_goes_on(tab, name, data, said):
    tab.fill("#rate", "10")
    pick(tab, name, data)
    line = complaint(tab)
    assert said in line and "\n" not in line
    pick(tab, "right.npz", npz())
    tab.locator("#result").wait_for()
    assert tab.locator("#line.wrong").count() == 0


def test_file_above_the_limit_is_not_sent(tab, site):
    object.__setattr__(site.served, "limits", Limits(request_bytes=1000))
    tab.reload()
    tab.get_by_text("version 3").wait_for()
    tab.fill("#rate", "10")
    pick(tab, "a.npz", npz())
    assert complaint(tab) == "a.npz has 0.011 MiB; this server takes 0.000954."


def test_threshold_hides_what_scores_lower(tab):
    scores = [item["score"] for item in example(tab)["detections"]]
    bound = (scores[4] + scores[5]) / 2
    tab.evaluate(
        """value => {
          document.getElementById("least").value = value;
          document.getElementById("least").dispatchEvent(new Event("input"));
        }""",
        bound,
    )
    assert tab.locator("#count").inner_text() == "5 of 12 shown"
    assert tab.locator("#rows tr").count() == 5 and tab.locator(".bar.low").count() == 7
    tab.focus("#least")
    tab.keyboard.press("Home")
    assert tab.locator("#rows tr").count() == 12 and tab.locator(".bar.low").count() == 0
    tab.keyboard.press("End")
    assert tab.locator("#rows tr").count() == 1


def values_at(found: dict, label: str, time: float) -> list[str]:
    """What is read of a class at a time, as the page writes it."""
    curves = found["curves"]
    (item,) = [item for item in curves["classes"] if item["label"] == label]
    point = int(np.abs(np.array(curves["seconds"]) - time).argmin())
    return [
        f"{name} {float(f'{stream[kind][point]:.3g}'):g}"
        for stream in item["streams"].values()
        for kind, name in (("cascaded", "T-CAS"), ("attention", "attention"), ("phi", "Φ"))
    ]


def test_hover_reads_and_click_seeks(tab):
    found = example(tab)
    plot = tab.locator(".plot.curves").nth(3)  # the second class's second stream
    box = plot.bounding_box()
    place = {"x": box["width"] * 0.3, "y": 20}
    time = 0.3 * found["duration"]
    plot.hover(position=place)
    read = tab.locator("#readout").inner_text()
    assert f"{time:.1f}" in read and CLASSES[1] in read
    for value in values_at(found, CLASSES[1], time):
        assert value in read
    tab.mouse.move(0, 0)
    assert tab.locator("#readout").inner_text().startswith("0.00 s")
    plot.click(position=place)
    assert abs(float(tab.locator("#cursor").get_attribute("aria-valuenow")) - time) < 0.1
    tab.locator("#rows button").nth(2).click()
    start = found["detections"][2]["segment"][0]
    assert tab.locator("#cursor").get_attribute("aria-valuenow") == f"{start:.2f}"


def test_everything_by_keyboard(tab):
    now = """() => {
      const element = document.activeElement, seen = element.closest("#drop") || element;
      return [element.id || element.value, getComputedStyle(seen).outlineStyle];
    }"""

    def tab_to(name: str) -> None:
        reached = []
        while name not in reached and len(reached) < 20:
            tab.keyboard.press("Tab")
            focus, outline = tab.evaluate(now)
            assert outline == "solid", f"the focus on {focus} is not seen"
            reached.append(focus)
        assert reached[-1] == name

    for name in ("file", "rate", "duration"):
        tab_to(name)
    tab_to("example")
    with tab.expect_response("**:localize*") as waiting:
        tab.keyboard.press("Enter")
    found = waiting.value.json()
    tab.locator("#result").wait_for()
    tab_to("rgb")
    tab.keyboard.press("Space")
    assert tab.locator("[data-stream=rgb]:visible").count() == 0
    tab.keyboard.press("Space")
    tab_to("least")
    tab.keyboard.press("End")
    assert tab.locator("#rows tr").count() == 1
    tab.keyboard.press("Home")
    tab_to("cursor")
    for _ in range(3):
        tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Shift+ArrowRight")
    tab.keyboard.press("ArrowDown")
    cursor = tab.locator("#cursor")
    assert cursor.get_attribute("aria-valuetext") == f"2.08 seconds, {CLASSES[1]}"
    read = tab.locator("#readout").inner_text()
    assert tab.locator("#readout").get_attribute("aria-live") == "polite"
    assert all(value in read for value in values_at(found, CLASSES[1], 13 / 6.25 + 0.01))
    tab.keyboard.press("End")
    assert cursor.get_attribute("aria-valuenow") == "48.00"
    tab_to("save-json")
    with tab.expect_download() as waiting:
        tab.keyboard.press("Enter")
    assert waiting.value.suggested_filename == "video_validation_42.json"
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    start = found["detections"][0]["segment"][0]
    assert cursor.get_attribute("aria-valuenow") == f"{start:.2f}"


def test_downloads_are_what_the_package_reads_and_writes(tab, tmp_path):
    found = example(tab)
    rows = [(item["label"], *item["segment"], item["score"]) for item in found["detections"]]
    tab.focus("#least")
    for _ in range(30):
        tab.keyboard.press("ArrowRight")
    kept = tab.locator("#rows tr").count()
    assert 0 < kept < 12
    for button, name in (("Save all 12 as JSON", "a.json"), (f"Save {kept} as subtitles", "a.vtt")):
        with tab.expect_download() as waiting:
            tab.get_by_role("button", name=button).click()
        waiting.value.save_as(tmp_path / name)
    loaded = load_detections(tmp_path / "a.json")
    assert loaded.videos == ("video_validation_42",)
    ((_, theirs),) = loaded.by_video()
    assert sorted(theirs) == sorted(rows)
    assert (tmp_path / "a.vtt").read_text() == webvtt(rows[:kept])


def test_token_is_asked_for_and_sent(tab, site):
    site.token = TOKEN
    tab.reload()
    assert complaint(tab) == "give the server's token"
    assert tab.evaluate("document.activeElement.id") == "token"
    tab.keyboard.type("wrong")
    tab.keyboard.press("Enter")
    tab.locator("#token").press("Control+A")
    tab.keyboard.type(TOKEN)
    tab.keyboard.press("Enter")
    tab.get_by_text("version 3").wait_for()
    assert example(tab)["version"] == 3


def test_clip_is_played_from_this_machine(tab, video_writer, tmp_path):
    images = [np.full((32, 48, 3), number, np.uint8) for number in range(100)]
    form = {"codec": "libvpx", "pix_fmt": "yuv420p", "fps": 10}
    clip = video_writer(tmp_path / "clip.webm", images, **form)
    pick(tab, "clip.webm", clip.read_bytes())
    tab.locator("#result").wait_for()
    video = tab.locator("#video")
    loaded = "new Promise(done => { video.onloadedmetadata = () => done(); })"
    video.evaluate(f"video => video.readyState || {loaded}")
    assert video.get_attribute("src").startswith("blob:")
    tab.locator("#rows button").first.click()
    begin = float(tab.locator("#rows td").nth(1).inner_text())
    assert abs(video.evaluate("video => video.currentTime") - begin) < 0.02
    assert f"in {begin:.2f}–" in tab.locator("#readout").inner_text()
    video.evaluate("video => { video.currentTime = 9.5; }")
    sync_api.expect(tab.locator("#cursor")).to_have_attribute("aria-valuenow", "9.50")
    pick(tab, "other.mkv", b"no video that a browser plays")
    tab.get_by_text("This browser cannot play the clip").wait_for()
    assert not video.is_visible() and tab.locator(".bar").count() == 12


LONG = tuple(
    f"{number}: an everyday activity that is done outdoors by several people"
    for number in range(20)
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_is_legible(tab, site, scheme, width):
    tab.set_viewport_size({"width": width, "height": 740})
    tab.emulate_media(color_scheme=scheme)
    site.reset(LONG, 200)
    tab.reload()
    example(tab)
    assert tab.locator(".class").count() == 20
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(CONTRASTS) == []
    assert tab.evaluate(SHIFTS) == 0


# What moved though nobody had done anything.
SHIFTS = """() => new Promise(resolve => {
  let sum = 0;
  new PerformanceObserver(list => {
    for (const shift of list.getEntries()) if (!shift.hadRecentInput) sum += shift.value;
  }).observe({type: "layout-shift", buffered: true});
  setTimeout(() => resolve(sum), 50);
})"""

# Texts whose colour is too near to what they are on: less than 4.5 by WCAG's formula.
CONTRASTS = """() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = text => {
    const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = rgb(text).map(v => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const under = element => {
    for (; element; element = element.parentElement) {
      const color = getComputedStyle(element).backgroundColor;
      if (!(rgb(color)[3] === 0)) return color;
    }
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest("script, option")) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(under(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push([element.outerHTML.slice(0, 80), ratio]);
  }
  return poor;
}"""
