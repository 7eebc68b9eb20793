#!/usr/bin/env python3
"""browser.py REPORT_PAGE: the report in headless Chromium, opened from disk, clicked, hovered and typed at.

REPORT_PAGE is the program that makes a page of a study. The studies are made up by study.py.
"""

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

import study as studies

VIEWS = ["heads", "training", "measures", "removal", "likeness", "words"]
PROGRAM = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else None


def start_browser(profile):
    options = Options()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                     f"--user-data-dir={profile}", "--force-device-scale-factor=1", "--lang=en"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


class Report(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="tapehead-report-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.browser = start_browser(os.path.join(cls.folder.name, "profile"))
        cls.addClassCleanup(cls.browser.quit)
        cls.made = {}
        cls.browser.get("about:blank")
        cls.browser.get_log("performance")  # of the browser's own first page

    def tearDown(self):
        faults = [entry["message"] for entry in self.browser.get_log("browser") if entry["source"] != "rendering"]
        self.assertEqual(faults, [], "nothing on the console")
        asked = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        loads = {event["params"]["request"]["url"].partition("#")[0] for event in asked
                 if event["method"] == "Network.requestWillBeSent"}
        self.assertEqual({url for url in loads if not url.startswith("file:///tmp/tapehead-report-")}, set(), "nothing is loaded")

    # ---- the page ----

    def open(self, name, where="heads", width=1280, height=800, dark=False):
        if name not in self.made:
            page, source = (os.path.join(self.folder.name, name + end) for end in (".html", ".json"))
            study = studies.STUDIES[name]()
            with open(source, "w", encoding="utf-8") as file:
                json.dump(study, file)
            subprocess.run([PROGRAM, source, page], check=True)
            self.made[name] = page, study
        page, study = self.made[name]
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                     {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
        self.browser.get(f"file://{page}#{where}")
        self.browser.execute_script("try { localStorage.clear() } catch {}")
        self.browser.refresh()
        return study

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector="main"):
        return self.find(selector).text

    def press(self, *keys):
        ActionChains(self.browser).send_keys(*keys).perform()

    def wait_for(self, selector, text):
        """Until it says so; the page may put a new node in its place meanwhile."""
        WebDriverWait(self.browser, 5, ignored_exceptions=[StaleElementReferenceException]).until(
            lambda _: text in self.text(selector))

    def hover(self, node, x=0, y=0):
        """The pointer goes to the node's middle, and x, y beside it, once the page has told of its scrolling, which
        takes a tip away."""
        self.browser.execute_script("arguments[0].scrollIntoView({inline: 'nearest', block: 'nearest'})", node)
        self.browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
        ActionChains(self.browser).move_to_element_with_offset(node, x, y).perform()

    def focused(self, attribute):
        return self.browser.switch_to.active_element.get_attribute(attribute)

    def where(self):
        return self.browser.execute_script("return location.hash")

    def tip(self):
        return self.text("#tip")

    def slide(self, step):
        self.browser.execute_script(
            "const s = document.getElementById('step'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))", step)

    def weight_bytes(self, study, sentence, step, head):
        """A head's weights as the page should know them: rows of bytes."""
        kind = study["heads"][head]["kind"]
        sides = lambda k: {"encoder_self": (s, s), "decoder_self": (t, t), "cross": (t, s)}[k]  # noqa: E731
        s, t = (len(study["sentences"][sentence][side]) for side in ("source", "input"))
        start = sum(rows * columns for rows, columns in (sides(h["kind"]) for h in study["heads"][:head]))
        rows, columns = sides(kind)
        data = base64.b64decode(study["weights"][sentence][step])
        return [list(data[start + i * columns:start + (i + 1) * columns]) for i in range(rows)]

    def cell(self, row, column):
        """Puts the pointer on a cell of the large picture."""
        canvas = self.find("[data-figure=heatmap] canvas")
        rows, columns = int(canvas.get_attribute("height")), int(canvas.get_attribute("width"))
        box = canvas.rect
        self.hover(canvas, round(box["width"] * ((column + 0.5) / columns - 0.5)), round(box["height"] * ((row + 0.5) / rows - 0.5)))

    # ---- the atlas ----

    def test_the_first_screen_says_what_the_heads_do(self):
        study = self.open("small")
        self.assertEqual(len(self.all(".tile")), len(study["heads"]))
        said = self.text()
        best = max(study["heads"], key=lambda head: head["worth"]["off"]["loss"])
        rise = best["worth"]["off"]["loss"] - study["whole"]["loss"]
        self.assertIn(f"leans most on {best['label']}", said)
        self.assertIn(f"rises by {rise:.3f} nats", said)
        for head in study["heads"]:
            tile = self.find(f".tile[aria-label^='{head['label']}:']")
            self.assertIn(head["job"].replace(" token", "").replace("fixed ", ""), tile.text)
            self.assertIn(f"{head['score']:.2f}", tile.text)
        self.assertLess(self.all(".tile")[-1].rect["y"], 800)

    def test_tiles_are_painted_with_the_weights_of_sentence_and_step(self):
        study = self.open("small")
        read = "return [...document.querySelectorAll('.tile canvas')[arguments[0]].getContext('2d').getImageData(arguments[1], arguments[2], 1, 1).data]"
        table = self.browser.execute_script("return Array.from({length: 256}, (_, i) => colour(i / 255))")
        for sentence, step in ((0, 20), (0, 0), (2, 20), (1, 9)):
            Select(self.find("#sentence")).select_by_index(sentence)
            self.slide(step)
            for head in (0, 9, 21):
                weights = self.weight_bytes(study, sentence, step, head)
                for row, column in ((0, 0), (1, 2), (len(weights) - 1, len(weights[0]) - 1)):
                    shown = self.browser.execute_script(read, head, column, row)
                    self.assertEqual(shown, table[weights[row][column]] + [255], (sentence, step, head, row, column))

    def test_colours_are_those_of_the_pictures(self):
        self.open("small")
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../src/plot/colour.c"), encoding="utf-8") as file:
            source = file.read()
        table = source[source.index("th_viridis["):source.index("};")]
        wanted = [[int(part) for part in rgb] for rgb in re.findall(r"\{(\d+), (\d+), (\d+)\}", table)]
        self.assertEqual(len(wanted), 256)
        self.assertEqual(self.browser.execute_script("return Array.from({length: 256}, (_, i) => colour(i / 255))"), wanted)

    def test_weights_below_0_have_colours_of_their_own(self):
        study = self.open("signed")
        scale = [self.text(f".foot .scale span:nth-of-type({i})") for i in (1, 2)]
        self.assertEqual(scale, ["−1.50", "1.50"])
        weights = self.weight_bytes(study, 0, 1, 0)
        read = "return [...document.querySelector('.tile canvas').getContext('2d').getImageData(arguments[0], arguments[1], 1, 1).data]"
        for row, column in ((0, 0), (1, 2), (3, 3)):
            part = (weights[row][column] - 128) / 127
            red, _, blue, _ = self.browser.execute_script(read, column, row)
            self.assertEqual(blue > red, part < 0, (part, red, blue))
        self.browser.execute_script("location.hash = 'head/' + heads[0].label")
        self.wait_for("h2", study["heads"][0]["label"])
        self.cell(1, 2)
        self.assertIn(f"{(weights[1][2] - 128) / 127 * 1.5:.3f}".replace("-", "−"), self.tip())
        below = sum((byte - 128) / 127 <= -0.02 for row in weights for byte in row)
        above = sum((byte - 128) / 127 >= 0.02 for row in weights for byte in row)
        self.assertEqual([len(self.all(f".links line.{side}")) for side in ("below", "above")], [below, above])

    def test_a_job_pressed_dims_the_others(self):
        study = self.open("small")
        self.find(".chip[data-job=reverse]").click()
        clear = [tile.get_attribute("aria-label").split(":")[0] for tile in self.all(".tile:not(.faded)")]
        self.assertEqual(clear, [head["label"] for head in study["heads"] if head["job"] == "reverse"])
        self.assertEqual(self.focused("data-job"), "reverse")
        self.press(Keys.ENTER)
        self.assertEqual(self.all(".tile.faded"), [])

    def test_arrow_keys_move_among_heads_and_enter_and_escape_open_and_close(self):
        self.open("small")
        self.assertEqual(len(self.all(".tile[tabindex='0']")), 1)
        self.browser.execute_script("document.querySelector('.tile').focus()")
        self.press(Keys.ARROW_RIGHT)
        self.assertEqual(self.focused("data-head"), "1")
        self.press(Keys.ARROW_DOWN)
        self.assertEqual(self.focused("data-head"), "5")
        self.press(Keys.END)
        self.assertEqual(self.focused("data-head"), "7")
        self.press(Keys.ENTER)
        self.assertEqual(self.where(), "#head/enc1.3")
        self.press(Keys.ESCAPE)
        self.assertEqual(self.where(), "#heads")
        self.assertEqual(self.focused("data-head"), "7")
        style = self.browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
        self.assertEqual(style, "solid")

    def test_tab_reaches_everything_in_turn(self):
        self.open("small")
        seen = []
        for _ in range(40):
            self.press(Keys.TAB)
            node = self.browser.switch_to.active_element
            name = node.get_attribute("id") or node.get_attribute("class") or node.get_attribute("hash") or node.tag_name
            if seen and node.tag_name == "body":
                break
            seen.append(name)
        for wanted in ("theme", "sentence", "play", "step", "chip", "tile"):
            self.assertIn(wanted, seen)
        self.assertEqual(seen.count("tile"), 1)

    # ---- a head ----

    def test_a_click_opens_a_head_with_its_numbers(self):
        study = self.open("small")
        head = study["heads"][17]
        self.find(".tile[data-head='17']").click()
        self.assertEqual(self.where(), f"#head/{head['label']}")
        said = self.text()
        self.assertIn(head["label"], said)
        self.assertIn(head["job"], said)
        for name, look in head["looks"].items():
            row = self.browser.execute_script(
                "return [...document.querySelectorAll('.numbers tr')].find(r => r.cells[0].textContent === arguments[0]).innerText",
                name.replace("anti_diagonal", "anti-diagonal"))
            if look["mean"] is not None:
                self.assertIn(f"{look['mean']:.3f}".replace("-", "−").replace("−0.000", "0.000"), row.replace("−0.000", "0.000"), name)
        self.assertIn("query", said)
        self.assertIn("key", said)

    def test_a_cell_under_the_pointer_tells_its_weight(self):
        study = self.open("small", "head/cross0.0")
        head = next(i for i, h in enumerate(study["heads"]) if h["label"] == "cross0.0")
        weights = self.weight_bytes(study, 0, 20, head)
        for row, column in ((0, 6), (3, 3), (7, 0)):
            self.cell(row, column)
            self.assertIn(f"{weights[row][column] / 255:.3f}", self.tip())
            self.assertIn(study["sentences"][0]["source"][column], self.tip())
            self.assertEqual(self.text("[data-figure=heatmap] .readout"), self.tip())
        shown = [line.get_attribute("data-link") for line in self.all(".links line:not(.off)")]
        self.assertLessEqual(set(shown), {"7,0"})

    def test_cells_go_by_arrow_keys(self):
        study = self.open("small", "head/enc0.0")
        weights = self.weight_bytes(study, 0, 20, 0)
        self.browser.execute_script("document.querySelector('[data-figure=heatmap] svg').focus()")
        self.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
        self.assertIn(f"{weights[1][1] / 255:.3f}", self.tip())
        self.press(Keys.ESCAPE)
        self.assertEqual(self.where(), "#heads")

    def test_a_token_shows_what_it_sees(self):
        study = self.open("small", "head/cross0.0")
        head = next(i for i, h in enumerate(study["heads"]) if h["label"] == "cross0.0")
        weights = self.weight_bytes(study, 0, 20, head)
        self.hover(self.find("[data-token='0,2']"))
        shown = self.all(".links line:not(.off)")
        self.assertEqual({line.get_attribute("data-link").split(",")[0] for line in shown}, {"2"})
        for line in shown:
            column = int(line.get_attribute("data-link").split(",")[1])
            self.assertAlmostEqual(float(line.get_attribute("stroke-opacity")), weights[2][column] / 255, places=2)
        best = max(range(len(weights[2])), key=lambda j: weights[2][j])
        self.assertIn(f"sees {best} “{study['sentences'][0]['source'][best]}” {weights[2][best] / 255:.2f}", self.text("[data-figure=links] .readout"))
        self.browser.execute_script("document.querySelector(\"[data-token='0,0']\").focus()")
        self.press(Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
        self.assertEqual(self.focused("data-token"), "1,1")
        self.assertIn("is seen by", self.text("[data-figure=links] .readout"))
        self.assertEqual({line.get_attribute("data-link").split(",")[1] for line in self.all(".links line:not(.off)")}, {"1"})

    def test_value_norms_and_rollout_are_of_the_last_step(self):
        self.open("small", "head/cross0.0")
        self.slide(3)
        self.find("[data-value=norms]").click()
        self.assertEqual(self.text("#step-number"), "2,500")
        self.assertIn("value norm, rows sum to 1", self.text("[data-figure=heatmap]"))
        norms = self.browser.execute_script("return document.querySelector('[data-figure=heatmap] canvas').toDataURL()")
        self.find("[data-value=rollout]").click()
        self.assertIn("the same for all its heads", self.text())
        self.assertNotEqual(norms, self.browser.execute_script("return document.querySelector('[data-figure=heatmap] canvas').toDataURL()"))
        self.assertEqual(self.focused("data-value"), "rollout")
        self.press(Keys.ARROW_LEFT)
        self.assertEqual(self.find("[data-value=norms]").get_attribute("aria-checked"), "true")
        self.slide(3)
        self.assertEqual(self.find("[data-value=plain]").get_attribute("aria-checked"), "true")

    def test_the_scale_may_end_at_the_largest_weight(self):
        study = self.open("small", "head/enc1.2")
        self.assertEqual(self.text("[data-figure=heatmap] .scale").split()[1], "1")
        self.find("[data-value=most]").click()
        largest = max(max(row) for row in self.weight_bytes(study, 0, 20, 6)) / 255
        self.assertEqual(self.text("[data-figure=heatmap] .scale").split()[1], f"{largest:.2f}")

    def test_layer_and_head_are_chosen(self):
        self.open("small", "head/enc0.1")
        Select(self.find("#layer")).select_by_visible_text("cross-attention, layer 1")
        self.assertEqual(self.where(), "#head/cross1.1")
        self.wait_for(".head-title", "cross1.1")
        Select(self.find("#head")).select_by_index(3)
        self.wait_for(".head-title", "cross1.3")
        self.find("[aria-label='Previous head']").click()
        self.wait_for(".head-title", "cross1.2")
        self.press("]")
        self.wait_for(".head-title", "cross1.3")

    # ---- steps ----

    def test_the_slider_goes_through_the_training(self):
        study = self.open("small")
        slider = self.find("#step")
        slider.send_keys(Keys.HOME)
        rise = study["emergence"]
        self.assertIn(f"loss {rise['loss'][0]:.3f}", self.text("#step-loss"))
        self.assertEqual({tile.text.split()[2] for tile in self.all(".tile")}, {"broad"})
        slider.send_keys(Keys.ARROW_RIGHT)
        self.assertEqual(self.text("#step-number"), "125")
        self.assertEqual(slider.get_attribute("aria-valuetext"), "step 125")
        self.browser.execute_script("document.querySelector('.tile').focus()")
        self.press(".", ".", ",")
        self.assertEqual(self.text("#step-number"), "250")
        self.assertEqual(self.focused("data-head"), "0")
        self.find("#views a[href='#training']").click()
        self.assertEqual(len(self.all(".strips rect")), len(study["heads"]) * len(study["steps"]))
        self.all(".strips rect")[12].click()
        self.assertEqual(self.text("#step-number"), "1,500")

    def test_play_ends_at_the_last_step(self):
        self.open("small")
        self.slide(18)
        self.find("#play").click()
        WebDriverWait(self.browser, 10).until(lambda _: self.text("#step-number") == "2,500")
        WebDriverWait(self.browser, 10).until(lambda _: self.find("#play").get_attribute("aria-label") == "Play the training")

    def test_curves_are_read_by_pointer_and_keys(self):
        study = self.open("small", "training")
        self.browser.execute_script("document.querySelector('.curves').focus()")
        self.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
        self.assertIn(f"{study['emergence']['loss'][19]:.3f}", self.tip())
        self.press(Keys.ENTER)
        self.assertEqual(self.text("#step-number"), "2,375")
        self.hover(self.all(".curves")[1])
        self.assertIn("exact match", self.tip())

    # ---- tables, removal, likeness, words ----

    def column(self, name):
        names = [button.get_attribute("data-column") for button in self.all(".sheet thead button")]
        at = names.index(name)
        return self.browser.execute_script("return [...document.querySelectorAll('.sheet tbody tr')].map(r => [Number(r.dataset.head), r.cells[arguments[0]].innerText])", at)

    def test_a_column_sorts_both_ways_and_the_missing_stand_last(self):
        study = self.open("small", "measures")
        losses = [head["worth"]["off"]["loss"] for head in study["heads"]]
        self.assertEqual([head for head, _ in self.column("loss if off")], sorted(range(24), key=lambda i: (-losses[i], i)))
        button = "[data-column=attribution]"
        for down in (True, False):
            self.find(button).click()
            self.assertEqual(self.find(f"th:has({button})").get_attribute("aria-sort"), "descending" if down else "ascending")
            shown = self.column("attribution")
            value = {i: head["worth"]["attribution"] for i, head in enumerate(study["heads"])}
            there = [i for i, _ in shown if value[i] is not None]
            self.assertEqual(there, sorted(there, key=lambda i: (-value[i] if down else value[i], i)))
            self.assertEqual([text for _, text in shown[len(there):]], ["–"] * (24 - len(there)))
        self.find("[data-column=job]").send_keys(Keys.ENTER)
        jobs = [text.strip() for _, text in self.column("job")]
        self.assertEqual(jobs, sorted(jobs))

    def test_a_look_tells_deviation_and_chance(self):
        self.open("small", "measures")
        cell = self.browser.execute_script(
            "const at = [...document.querySelectorAll('.sheet thead button')].findIndex(b => b.textContent === 'diagonal');"
            "const cell = document.querySelector('.sheet tbody tr').cells[at]; cell.scrollIntoView({inline: 'center', block: 'center'}); return cell")
        self.hover(cell)
        self.assertIn("deviation 0.030", self.tip())
        self.assertIn("chance 0.150", self.tip())

    def test_removal_draws_three_orders_of_what_is_chosen(self):
        study = self.open("small", "removal")
        self.assertEqual([path.get_attribute("data-series") for path in self.all(".curve")], ["single", "importance", "greedy"])
        self.find("[data-value=exact_match]").click()
        self.browser.execute_script("document.querySelector('.curves').focus()")
        self.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        for order in study["removal"].values():
            self.assertIn(f"{order['after'][0]['exact_match']:.3f}", self.tip())
        first = study["heads"][study["removal"]["greedy"]["order"][0]]["label"]
        self.assertIn(first, self.all(".order tbody tr")[0].text)

    def test_likeness_has_map_tree_matrix_and_redundancy(self):
        study = self.open("small", "likeness")
        self.find(".segments[aria-label=Kind] [data-value='2']").click()
        kind = study["kinds"][2]
        labels = [study["heads"][i]["label"] for i in kind["heads"]]
        self.assertEqual({text.text for text in self.all(".map .dot text")} - set(labels), set())
        self.assertEqual(len(self.all(".map .dot")), len(labels))
        self.assertEqual(len(self.all(".branch")), len(labels) - 1)
        self.browser.execute_script("document.querySelector('[data-figure=tree] .heatmap svg').focus()")
        self.press(Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
        a, b = self.text("[data-figure=tree] .readout").split(":")[0].split(" and ")
        self.assertIn(f"{kind['distance'][labels.index(a)][labels.index(b)]:.3f}", self.tip())
        wanted = [f"{one['value']:.2f}" for one in study["redundancy"] if one["kind"] == "cross"]
        self.assertEqual([row.text.split()[-1] for row in self.find("[data-figure=tree] + table").find_elements(By.CSS_SELECTOR, "tr")], wanted)
        self.find("[data-value=query]").click()
        self.assertIn("shared query directions", self.text("[data-figure=tree]"))
        self.all(".map .dot")[0].click()
        self.assertEqual(self.where(), f"#head/{labels[0]}")

    def test_every_measure_has_its_words(self):
        study = self.open("small", "words")
        said = self.text()
        for look in study["looks"]:
            self.assertIn(look["about"], said)
        for name in ("importance", "copying", "rollout", "redundancy", "Michel et al. 2019, section 4.1"):
            self.assertIn(name, said)

    # ---- odd studies ----

    def every_view(self, name, **size):
        study = self.open(name, **size)
        for view in [*VIEWS, *(f"head/{study['heads'][i]['label']}" for i in (0, -1))]:
            self.browser.execute_script("location.hash = arguments[0]", view)
            said = self.browser.execute_script("return document.documentElement.innerText + document.body.innerHTML.split('<script')[0]")
            for wrong in ("NaN", "undefined", "[object", "Infinity"):
                self.assertNotIn(wrong, said, (name, view))
            wide = self.browser.execute_script("return document.documentElement.scrollWidth")
            self.assertLessEqual(wide, size.get("width", 1280), (name, view, "no sideways scrolling"))
        return study

    def test_hostile_texts_are_only_texts(self):
        study = self.every_view("hostile")
        for part in ("title", "run", "sentences", "weights"):
            self.assertEqual(self.browser.execute_script("return study[arguments[0]]", part), study[part])
        self.assertEqual(self.browser.title, f"{study['title']}: attention heads")
        self.assertEqual(self.all("main script, main img, main b b"), [])
        self.cell(0, 0)
        self.assertIn("</script>", self.tip())

    def test_what_is_missing_is_a_dash_and_one_weight_needs_no_slider(self):
        self.every_view("missing")
        self.assertFalse(self.find("#stepper").is_displayed())
        self.assertIn("–", self.text())

    def test_one_stack_alone(self):
        self.every_view("classifier")

    def test_long_sentences_and_many_heads(self):
        self.every_view("long")
        study = self.every_view("large")
        self.browser.execute_script("location.hash = 'heads'")
        self.assertEqual(len(self.all(".tile")), len(study["heads"]))

    def test_a_telephone(self):
        for name in ("small", "long", "hostile"):
            self.every_view(name, width=390, height=844)

    # ---- light and dark ----

    def contrast(self, selector, against="body"):
        def luminance(colour):
            parts = [float(x) / 255 for x in colour[colour.index("(") + 1:-1].split(",")[:3]]
            linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
            return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        style = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
        a, b = sorted((luminance(self.browser.execute_script(style, selector, "color")),
                       luminance(self.browser.execute_script(style, against, "backgroundColor"))), reverse=True)
        return (a + 0.05) / (b + 0.05)

    def test_texts_are_readable_in_both_and_the_choice_is_remembered(self):
        for dark in (False, True):
            self.open("small", dark=dark)
            self.assertEqual(self.find("html").get_attribute("data-theme"), "dark" if dark else "light")
            for selector in ("body", ".soft", "nav a", ".tile .worth", ".label"):
                self.assertGreaterEqual(self.contrast(selector), 4.5, (selector, dark))
        self.find("#theme").click()
        self.assertEqual(self.find("html").get_attribute("data-theme"), "light")
        self.browser.refresh()
        self.assertEqual(self.find("html").get_attribute("data-theme"), "light")


if __name__ == "__main__":
    unittest.main()
