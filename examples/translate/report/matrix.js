/* A matrix as a heatmap, and as lines between tokens. */

/* One pixel a cell; the style sheet makes it large. */
function paint(canvas, matrix, scale = matrix.full) {
  const shade = matrix.signed ? partedColour : colour;
  const width = matrix.columns.length, height = matrix.rows.length;
  canvas.width = Math.max(1, width);
  canvas.height = Math.max(1, height);
  if (!width || !height) return canvas;
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  for (let row = 0, at = 0; row < height; row++)
    for (let column = 0; column < width; column++, at += 4) {
      const value = matrix.at(row, column);
      image.data.set(shade(known(value) ? value / scale : null), at);
      image.data[at + 3] = 255;
    }
  context.putImageData(image, 0, 0);
  return canvas;
}

function largest(matrix) {
  let most = 0;
  matrix.rows.forEach((_, row) => matrix.columns.forEach((_, column) => {
    most = Math.max(most, Math.abs(matrix.at(row, column) ?? 0));
  }));
  return most || 1;
}

function scaleBar(scale, name, signed = false) {
  const ramp = {
    rows: [0],
    columns: Array(256).fill(0),
    signed,
    full: 1,
    at: (_, column) => signed ? column / 127.5 - 1 : column / 255
  };
  const end = scale === 1 ? "1" : share(scale);
  return element(
      "div", {class: "scale"}, element("span", {}, signed ? `−${end}` : "0"),
      paint(element("canvas", {"aria-hidden": true}), ramp), element("span", {}, end),
      element("span", {class: "soft"}, name));
}

const WIDEST = 104; /* label, in pixels */

/* A heatmap with its labels and axes. `options`: width at hand, rowAxis, columnAxis, scale, name, say(row, column) in words,
 * moved(row, column) as the cell under pointer or arrow keys changes (null, null: none), picked(row, column). */
function heatmap(matrix, options) {
  const rows = matrix.rows.map(token => fitted(token, WIDEST)),
        columns = matrix.columns.map(token => fitted(token, WIDEST));
  const long = texts => Math.ceil(Math.max(8, ...texts.map(text => widthOf(text))));
  const left = (options.rowAxis ? 28 : 10) + long(rows),
        roomy = Math.max(12, Math.min(56, Math.floor(400 / Math.max(1, rows.length))));
  const side =
      clamp(Math.floor((options.width - left - 2) / Math.max(1, columns.length)), 12, options.largest ?? roomy);
  const turned = long(columns) + 4 > side, top = (options.columnAxis ? 30 : 12) + (turned ? long(columns) : 14);
  const wide = side * columns.length, high = side * rows.length;
  const canvas = paint(
      element("canvas", {style: `left:${left}px;top:${top}px;width:${wide}px;height:${high}px`}), matrix,
      options.scale ?? matrix.full);
  const cross = drawn(
      "g", {class: "cursor", visibility: "hidden"}, drawn("rect", {class: "band"}), drawn("rect", {class: "band"}),
      drawn("rect", {class: "cell"}));
  const label = (text, x, y, more) => drawn("text", {x, y, ...more}, text);
  const rowLabels = rows.map((text, i) => label(text, left - 7, top + (i + 0.5) * side, {class: "end"}));
  const columnLabels = columns.map((text, j) => {
    const x = left + (j + 0.5) * side;
    return turned ? label(text, x, top - 7, {class: "begin", transform: `rotate(-90 ${x} ${top - 7})`}) :
                    label(text, x, top - 12, {class: "middle"});
  });
  const surface = drawn(
      "svg", {
        width: left + wide + 2,
        height: top + high + 2,
        tabindex: 0,
        "font-size": Math.min(13, side - 1),
        role: "img",
        "data-own-tip": true,
        "aria-label": `${options.name}. Arrow keys move from cell to cell.`,
        class: "surface"
      },
      label(options.columnAxis, left + wide / 2, 10, {class: "axis middle"}),
      label(options.rowAxis, 9, top + high / 2, {class: "axis middle", transform: `rotate(-90 9 ${top + high / 2})`}),
      rowLabels, columnLabels,
      drawn("rect", {class: "frame", x: left - 0.5, y: top - 0.5, width: wide + 1, height: high + 1}), cross);
  const box = element(
      "div", {class: "heatmap", style: `width:${left + wide + 2}px;height:${top + high + 2}px`}, canvas, surface);
  const spoken = element("p", {class: "readout", "aria-live": "polite"});
  let cell = null;

  function mark(next) {
    cell = next;
    cross.setAttribute("visibility", next ? "visible" : "hidden");
    rowLabels.forEach((node, i) => node.classList.toggle("lit", Boolean(next) && i === next[0]));
    columnLabels.forEach((node, j) => node.classList.toggle("lit", Boolean(next) && j === next[1]));
    if (!next) return;
    const x = left + next[1] * side, y = top + next[0] * side;
    [[left, y, wide, side], [x, top, side, high], [x, y, side, side]].forEach(
        ([a, b, w, h], i) => fill(cross.children[i], {x: a, y: b, width: w, height: h}, []));
  }
  function move(next, where) {
    mark(next);
    spoken.textContent = next ? options.say(...next) : "";
    options.moved?.(...(next ?? [null, null]));
    if (next)
      showTip(options.say(...next), ...where(next));
    else
      hideTip();
  }
  const cellAt = event => {
    const edge = surface.getBoundingClientRect();
    const column = Math.floor((event.clientX - edge.left - left) / side),
          row = Math.floor((event.clientY - edge.top - top) / side);
    return row >= 0 && column >= 0 && row < rows.length && column < columns.length ? [row, column] : null;
  };
  surface.onpointermove = event => move(cellAt(event), () => [event.clientX, event.clientY]);
  surface.onpointerleave = () => move(null);
  surface.onclick = event => {
    const at = cellAt(event);
    if (at) options.picked?.(...at);
  };
  surface.onblur = () => move(null);
  surface.onkeydown = event => {
    const by = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
    if (event.key === "Enter" && cell) options.picked?.(...cell);
    if (!by || !rows.length || !columns.length) return;
    event.preventDefault();
    event.stopPropagation();
    const next =
        cell ? [clamp(cell[0] + by[0], 0, rows.length - 1), clamp(cell[1] + by[1], 0, columns.length - 1)] : [0, 0];
    move(next, ([row, column]) => {
      const edge = surface.getBoundingClientRect();
      return [edge.left + left + (column + 1) * side - 10, edge.top + top + (row + 1) * side - 10];
    });
  };
  return {
    node: element(
        "div", {}, element("div", {class: "scroll"}, box),
        scaleBar(options.scale ?? matrix.full, options.unit, matrix.signed), spoken),
    mark
  };
}

/* Two columns of tokens, queries at the left, keys at the right; a line's opacity is its weight (Vig 2019),
 * and where weights may be below 0 its size, the colour saying on which side. */
function links(matrix, options) {
  const sides = [matrix.rows, matrix.columns], most = Math.max(...sides.map(tokens => tokens.length), 1);
  const high = clamp(Math.floor(460 / most), 16, 30), width = options.width,
        texts = sides.map(tokens => tokens.map(token => fitted(token, width * 0.36 - 16)));
  const edge = Math.max(64, ...texts.flat().map(text => widthOf(text) + 16));
  const y = i => 30 + (i + 0.5) * high, lines = [];
  matrix.rows.forEach((_, row) => matrix.columns.forEach((_, column) => {
    const signed = matrix.at(row, column) / (options.scale ?? matrix.full), weight = Math.abs(signed);
    if (weight >= 0.02)
      lines.push({
        row,
        column,
        node: drawn("line", {
          x1: edge,
          y1: y(row),
          x2: width - edge,
          y2: y(column),
          "stroke-opacity": Math.min(1, weight).toFixed(3),
          class: !matrix.signed ? "" :
              signed < 0        ? "below" :
                                  "above",
          "data-link": `${row},${column}`
        })
      });
  }));
  const tokens = texts.map((group, side) => group.map((text, i) => {
    const x = side ? width - edge : 0;
    return drawn(
        "g", {
          class: "end-point",
          "data-token": `${side},${i}`,
          tabindex: side === 0 && i === 0 ? 0 : -1,
          role: "img",
          "aria-label": options.tokenWords(side, i)
        },
        drawn("rect", {x, y: y(i) - high / 2 + 1, width: edge, height: high - 2, rx: 4}),
        drawn(
            "rect",
            {class: "amount", x, y: y(i) - high / 2 + 1, width: edge, height: high - 2, rx: 4, "fill-opacity": 0}),
        drawn("text", {x: side ? x + 8 : edge - 8, y: y(i), class: side ? "begin" : "end"}, text));
  }));
  const surface = drawn(
      "svg", {class: "surface links", width, height: 36 + most * high, "data-own-tip": true},
      drawn("text", {x: edge - 8, y: 12, class: "axis end"}, options.rowAxis),
      drawn("text", {x: width - edge + 8, y: 12, class: "axis begin"}, options.columnAxis),
      drawn("g", {class: "lines"}, lines.map(line => line.node)), tokens);
  const spoken = element("p", {class: "readout", "aria-live": "polite"});

  /* Only the lines of one token (or the one line of a cell), and how much each token at the other side has of it. */
  function show(row, column) {
    for (const line of lines)
      line.node.classList.toggle(
          "off", (row !== null && line.row !== row) || (column !== null && line.column !== column));
    tokens.forEach((group, side) => group.forEach((node, i) => {
      const own = side ? column === i : row === i;
      const weight = side === 0 && column !== null && row === null        ? matrix.at(i, column) :
          side === 1 && row !== null && (column === null || column === i) ? matrix.at(row, i) :
                                                                            0;
      node.classList.toggle("own", own);
      node.children[1].setAttribute(
          "fill-opacity", (0.75 * clamp(Math.abs(weight ?? 0) / (options.scale ?? matrix.full), 0, 1)).toFixed(3));
    }));
  }
  function focusOn(side, i) {
    show(side === 0 ? i : null, side === 1 ? i : null);
    spoken.textContent = options.tokenWords(side, i);
  }
  const clear = () => {
    show(null, null);
    spoken.textContent = "";
  };
  tokens.forEach((group, side) => group.forEach((node, i) => {
    node.onpointerenter = () => focusOn(side, i);
    node.onpointerleave = clear;
    node.onfocus = () => focusOn(side, i);
    node.onblur = clear;
    node.onkeydown = event => {
      const by = {ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0]}[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      const to = clamp(side + by[0], 0, 1), next = tokens[to][clamp(i + by[1], 0, tokens[to].length - 1)];
      if (!next) return;
      node.setAttribute("tabindex", -1);
      next.setAttribute("tabindex", 0);
      next.focus();
    };
  }));
  return {node: element("div", {}, element("div", {class: "scroll"}, surface), spoken), show};
}
