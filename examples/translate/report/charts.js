/* Curves, points and trees, drawn as SVG. */

/* Round numbers from low to high, about `wanted` of them. */
function ticks(low, high, wanted = 5) {
  const rough = (high - low) / wanted || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(factor => factor * power >= rough);
  const made = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++)
    made.push(Number((i * step).toPrecision(10)));
  return made;
}
const tickText = x => minus(Math.abs(x) >= 10000 ? `${x / 1000}k` : String(x));

/* Lines over a common x. `series`: [{name, values, hue}]; `options`: width, height, x, xName, yName, low, high, mark: an index
 * with a line through it, at(index): what to call it, picked(index). Arrow keys and the pointer read off values. */
function curves(series, options) {
  const {x} = options, width = clamp(options.width, 260, 760), height = options.height ?? 240;
  const left = 52, right = 20, top = 14, bottom = 38;
  const values = series.flatMap(one => one.values.filter(known));
  const low = options.low ?? Math.min(0, ...values), high = options.high ?? (Math.max(low, ...values) || 1);
  const span = high > low ? high - low : 1, reach = x[x.length - 1] - x[0] || 1;
  const across = i => left + (width - left - right) * (x[i] - x[0]) / reach;
  const up = value => height - bottom - (height - top - bottom) * (value - low) / span;
  const path = one =>
      one.values
          .map(
              (value, i) => known(value) ?
                  `${i && known(one.values[i - 1]) ? "L" : "M"}${across(i).toFixed(1)} ${up(value).toFixed(1)}` :
                  "")
          .join("");
  const cursor = drawn(
      "g", {class: "reading", visibility: "hidden"}, drawn("line", {y1: top, y2: height - bottom}),
      series.map(one => drawn("circle", {r: 3.5, class: `hue-${one.hue}`})));
  const surface = drawn(
      "svg", {
        class: "surface curves",
        width,
        height,
        tabindex: 0,
        role: "img",
        "data-own-tip": true,
        "aria-label": `${options.yName} by ${options.xName}: ${
            series.map(one => one.name).join(", ")}. Arrow keys read off values.`
      },
      ticks(low, high, height < 180 ? 3 : 5)
          .map(
              value =>
                  [drawn("line", {class: "rule", x1: left, x2: width - right, y1: up(value), y2: up(value)}),
                   drawn("text", {class: "end tick", x: left - 8, y: up(value)}, tickText(value))]),
      ticks(x[0], x[x.length - 1], width < 420 ? 4 : 6)
          .map(
              value => drawn(
                  "text", {
                    class: "middle tick",
                    x: left + (width - left - right) * (value - x[0]) / reach,
                    y: height - bottom + 15
                  },
                  tickText(value))),
      drawn("text", {class: "axis middle", x: (left + width - right) / 2, y: height - 7}, options.xName),
      drawn(
          "text", {
            class: "axis middle",
            x: 10,
            y: (top + height - bottom) / 2,
            transform: `rotate(-90 10 ${(top + height - bottom) / 2})`
          },
          options.yName),
      known(options.mark) && x.length > 1 ?
          drawn(
              "line",
              {class: "mark", x1: across(options.mark), x2: across(options.mark), y1: top, y2: height - bottom}) :
          null,
      series.map(one => drawn("path", {class: `curve hue-${one.hue}`, d: path(one), "data-series": one.name})),
      x.length < 2 ? series.map(
                         one => known(one.values[0]) ?
                             drawn("circle", {class: `hue-${one.hue}`, cx: across(0), cy: up(one.values[0]), r: 3.5}) :
                             null) :
                     null,
      cursor);
  let at = null;

  function read(index, clientX, clientY) {
    at = index;
    cursor.setAttribute("visibility", index === null ? "hidden" : "visible");
    if (index === null) return hideTip();
    fill(cursor.children[0], {x1: across(index), x2: across(index)}, []);
    series.forEach(
        (one, i) => fill(
            cursor.children[i + 1], {
              cx: across(index),
              cy: up(one.values[index] ?? low),
              visibility: known(one.values[index]) ? "inherit" : "hidden"
            },
            []));
    const edge = surface.getBoundingClientRect();
    showTip(
        () =>
            [element("b", {}, options.at(index)),
             series.map(one => element("p", {}, swatch(one.hue), ` ${one.name} ${number(one.values[index])}`))],
        clientX ?? edge.left + across(index), clientY ?? edge.top + top);
  }
  surface.onpointermove = event => {
    const place = event.clientX - surface.getBoundingClientRect().left;
    const near = x.map((_, i) => Math.abs(across(i) - place));
    read(near.indexOf(Math.min(...near)), event.clientX, event.clientY);
  };
  surface.onpointerleave = surface.onblur = () => read(null);
  surface.onclick = () => {
    if (at !== null) options.picked?.(at);
  };
  surface.onkeydown = event => {
    const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (event.key === "Enter" && at !== null) options.picked?.(at);
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    read(at === null ? options.mark ?? 0 : clamp(at + by, 0, x.length - 1));
  };
  return element(
      "figure", {class: "chart"},
      element("div", {class: "legend"}, series.map(one => element("span", {}, swatch(one.hue), ` ${one.name}`))),
      element("div", {class: "scroll"}, surface));
}
const swatch = hue => element("i", {class: `swatch hue-${hue}`, "aria-hidden": true});

/* Heads as points: the nearer, the more alike. `picked(index)` of the kind's heads. */
function scatter(points, labels, signs, options) {
  const width = clamp(options.width, 260, 560), height = Math.min(width, 420), margin = 46;
  const ends = [0, 1]
                   .map(k => points.map(point => point[k]).filter(known))
                   .map(all => all.length ? [Math.min(...all), Math.max(...all)] : [0, 0]);
  const middle = k => (ends[k][0] + ends[k][1]) / 2;
  const reach = Math.max(1e-9, ...[width, height].map((side, k) => (ends[k][1] - ends[k][0]) / (side - 2 * margin)));
  const at = point => [width / 2 + (point[0] - middle(0)) / reach, height / 2 - (point[1] - middle(1)) / reach];
  const taken = [];
  /* Where the label lies on no other: right, left, above, below. */
  const place = (x, y, text) => {
    const w = 7 * text.length,
          tries = [[x + 10, y, "begin"], [x - 10, y, "end"], [x, y - 14, "middle"], [x, y + 14, "middle"]];
    const boxOf = ([a, b, anchor]) => [anchor === "begin" ? a : anchor === "end" ? a - w : a - w / 2, b - 7, w, 14];
    const free = ([a, b, c, d]) =>
        a > 0 && a + c < width && taken.every(([p, q, r, s]) => a + c < p || p + r < a || b + d < q || q + s < b);
    const found = tries.find(one => free(boxOf(one)));
    if (found) taken.push(boxOf(found));
    return found;
  };
  points.forEach(point => {
    if (known(point[0])) {
      const [x, y] = at(point);
      taken.push([x - 6, y - 6, 12, 12]);
    }
  });
  return element(
      "div", {class: "scroll"},
      drawn(
          "svg", {class: "surface map", width, height},
          drawn("rect", {class: "frame", x: 0.5, y: 0.5, width: width - 1, height: height - 1, rx: 8}),
          points.map((point, i) => {
            if (!known(point[0]) || !known(point[1])) return null;
            const [x, y] = at(point), label = place(x, y, labels[i]);
            const dot = drawn(
                "a",
                {href: `#head/${labels[i]}`, "aria-label": options.words(i), class: `dot job-${jobOf(signs[i])[1]}`},
                drawn("circle", {cx: x, cy: y, r: 5.5}),
                label ? drawn("text", {x: label[0], y: label[1], class: label[2]}, labels[i]) : null);
            return tip(dot, options.words(i));
          })));
}

/* The order of the leaves from top to bottom, and a tree of `side` pixels a leaf. */
function leavesOf(merges, n) {
  const below = Array.from({length: n}, (_, i) => [i]);
  for (const [first, second] of merges) below.push([...below[first], ...below[second]]);
  return n ? below.length > n ? below[below.length - 1] : below.flat() : [];
}

function dendrogram(merges, labels, options) {
  const n = labels.length, order = leavesOf(merges, n), side = options.side, top = options.top,
        wide = Math.round(Math.min(200, room() * 0.28));
  const highest = Math.max(1e-9, ...merges.map(merge => merge[2]).filter(known));
  const across = height => wide - 4 - (wide - 16) * (known(height) ? height / highest : 1);
  const nodes = Array.from({length: n}, (_, i) => ({x: wide - 4, y: top + (order.indexOf(i) + 0.5) * side}));
  const lines = merges.map(([first, second, height, leaves]) => {
    const a = nodes[first], b = nodes[second], x = across(height);
    nodes.push({x, y: (a.y + b.y) / 2});
    const path = drawn("path", {class: "branch", d: `M${a.x} ${a.y}H${x}V${b.y}H${b.x}`});
    return tip(path, `${leaves} heads join at distance ${number(height)}`);
  });
  return drawn(
      "svg", {
        class: "surface tree",
        width: wide,
        height: top + n * side + 2,
        role: "img",
        "aria-label": `Dendrogram: ${merges.map(merge => `${merge[3]} heads at ${number(merge[2])}`).join(", ")}`
      },
      merges.length ? [0, highest].map(
                          height => drawn(
                              "text", {class: "middle tick", x: clamp(across(height), 14, wide - 8), y: top - 8},
                              height ? share(height) : "0")) :
                      null,
      lines);
}
