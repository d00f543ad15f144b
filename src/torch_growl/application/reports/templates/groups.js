"use strict";
(() => {
  const layers = JSON.parse(document.getElementById("groups-data").textContent).layers;
  const part = (name) => document.getElementById("groups-" + name);
  const choice = part("layer"), group = part("group"), row = part("row"), map = part("map"), said = part("said");
  const GAP = 6, MOST = 460;
  const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#882255", "#44AA99",
    "#332288", "#DDCC77", "#AA4499", "#117733", "#FF9DA7", "#88CCEE", "#9C755F", "#B6992D", "#499894", "#F1CE63", "#D37295"];
  let layer = layers[0], cursor = -1, cell = 1, across = 1;

  const plural = (n, word) => n.toLocaleString("en") + " " + word + (n === 1 ? "" : "s");
  const members = (label) => layer.labels.flatMap((found, i) => (found === label ? [i] : []));
  const panel = () => layer.height * layer.width;
  const place = (i) => {
    if (layer.what !== "pixel") return layer.what + " " + i;
    const inside = i % panel(), channel = layer.labels.length > panel() ? ", channel " + (Math.floor(i / panel()) + 1) : "";
    return "pixel in line " + (Math.floor(inside / layer.width) + 1) + ", column " + (inside % layer.width + 1) + channel;
  };
  const state = (label, n) =>
    label < 0 ? "pruned: the network does not read it"
      : label === 0 ? "alone: it has weights of its own"
        : "in group " + label + " of " + plural(n, layer.what) + ": the network reads only their sum";

  function fill() {
    const counts = new Map();
    layer.labels.forEach((label) => counts.set(label, (counts.get(label) || 0) + 1));
    const largest = Math.max(0, ...counts.keys());
    const options = [["all", "all " + plural(layer.labels.length, layer.what)]];
    if (counts.has(-1)) options.push(["-1", "pruned: " + plural(counts.get(-1), layer.what)]);
    if (counts.has(0)) options.push(["0", "alone: " + plural(counts.get(0), layer.what)]);
    for (let i = 1; i <= largest; i++) options.push([String(i), "group " + i + ": " + plural(counts.get(i), layer.what)]);
    group.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    row.max = layer.labels.length - 1;
    row.value = 0;
    cursor = -1;
    map.setAttribute("aria-label", "Map of the " + plural(layer.labels.length, layer.what) + " of " + layer.name + ": "
      + (counts.get(-1) || 0) + " pruned, " + (counts.get(0) || 0) + " alone, " + largest + " groups. "
      + "The fields above go through groups and rows.");
    tell();
  }

  function tell() {
    if (cursor >= 0) {
      const label = layer.labels[cursor];
      const text = place(cursor);
      row.setAttribute("aria-valuetext", text);
      said.textContent = text[0].toUpperCase() + text.slice(1) + " (row " + cursor + ") is " + state(label, members(label).length) + ".";
      return;
    }
    if (group.value === "all") {
      const groups = Math.max(0, ...layer.labels);
      said.textContent = layer.name + ": " + plural(layer.labels.length, layer.what) + ", "
        + members(-1).length + " pruned, " + members(0).length + " alone, "
        + layer.labels.filter((label) => label > 0).length + " tied in " + plural(groups, "group") + ".";
      return;
    }
    const label = Number(group.value), found = members(label);
    const shown = found.slice(0, 24).map((i) => (layer.what === "pixel"
      ? "(" + (Math.floor(i % panel() / layer.width) + 1) + ", " + (i % layer.width + 1) + ")" : i)).join(", ");
    said.textContent = (label < 0 ? "Pruned" : label === 0 ? "Alone" : "Group " + label) + ": " + plural(found.length, layer.what)
      + (layer.what === "pixel" ? " (line, column): " : ": ") + shown + (found.length > 24 ? ", …" : "") + ".";
  }

  function corner(i) {
    const inside = i % panel(), which = Math.floor(i / panel());
    return [(which % across) * (layer.width * cell + GAP) + inside % layer.width * cell,
      Math.floor(which / across) * (layer.height * cell + GAP) + Math.floor(inside / layer.width) * cell];
  }

  function draw() {
    const panels = Math.ceil(layer.labels.length / panel());
    const room = Math.max(60, Math.min(map.parentElement.clientWidth - 28, panels > 1 ? 860 : MOST));
    across = panels > 1 && room >= 3 * layer.width * 4 ? Math.min(panels, 3) : 1;
    cell = Math.max(1, Math.floor(Math.min((room - GAP * (across - 1)) / (across * layer.width), 44)));
    const width = across * layer.width * cell + GAP * (across - 1);
    const lines = Math.ceil(panels / across), height = lines * layer.height * cell + GAP * (lines - 1);
    const sharp = window.devicePixelRatio || 1;
    map.width = width * sharp;
    map.height = height * sharp;
    map.style.width = width + "px";
    const pen = map.getContext("2d");
    pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    const look = getComputedStyle(document.documentElement), colour = (name) => look.getPropertyValue(name).trim();
    const back = colour("--card"), ink = colour("--ink"), pruned = colour("--cell"), alone = colour("--alone");
    const edge = cell >= 6 ? 1 : 0;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.font = Math.min(13, cell * 0.45) + "px system-ui, sans-serif";
    const picked = cursor >= 0 ? layer.labels[cursor] : group.value === "all" ? null : Number(group.value);
    pen.fillStyle = back;
    pen.fillRect(0, 0, width, height);
    layer.labels.forEach((label, i) => {
      const [x, y] = corner(i), own = cursor >= 0 && picked < 1 ? i === cursor : label === picked;
      pen.globalAlpha = picked === null || own ? 1 : 0.22;
      const fill = label < 0 ? pruned : label === 0 ? alone : COLOURS[(label - 1) % COLOURS.length];
      pen.fillStyle = fill;
      pen.fillRect(x, y, cell - edge, cell - edge);
      if (label > 0 && cell >= 20) {
        const [r, g, b] = [1, 3, 5].map((at) => parseInt(fill.slice(at, at + 2), 16));
        pen.fillStyle = 0.3 * r + 0.59 * g + 0.11 * b > 128 ? "#000" : "#fff";
        pen.fillText(String(label), x + cell / 2, y + cell / 2);
      }
    });
    pen.globalAlpha = 1;
    if (cursor >= 0) {
      const [x, y] = corner(cursor);
      pen.strokeStyle = ink;
      pen.lineWidth = 2;
      pen.strokeRect(x - 1, y - 1, cell + 1, cell + 1);
    }
  }

  function at(event) {
    const box = map.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    for (let i = 0; i < layer.labels.length; i++) {
      const [left, top] = corner(i);
      if (x >= left && x < left + cell && y >= top && y < top + cell) return i;
    }
    return -1;
  }

  layers.forEach((each, i) => choice.append(new Option(each.name, i)));
  choice.addEventListener("change", () => { layer = layers[Number(choice.value)]; fill(); draw(); });
  group.addEventListener("change", () => { cursor = -1; tell(); draw(); });
  row.addEventListener("input", () => { cursor = Number(row.value); tell(); draw(); });
  map.addEventListener("click", (event) => { cursor = at(event); if (cursor >= 0) row.value = cursor; tell(); draw(); });
  window.addEventListener("resize", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  part("explorer").hidden = false;
  fill();
  draw();
})();
