"use strict";
// The drift of each feature on each day. Only the rows in sight exist, so that a thousand features scroll as ten do.
(() => {
  const source = document.getElementById("features");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const ROW = 24, SPARE = 6;
  const heat = document.getElementById("heat"), search = document.getElementById("search");
  const make = (tag, properties, ...children) => { const node = Object.assign(document.createElement(tag), properties); node.append(...children); return node; };
  const number = (value) => (value === null || value === undefined ? "–" : Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3))));
  const share = (value) => `${(100 * value).toFixed(1)} %`;
  let shown = data.features, days = [], first = 0, at = { row: 0, day: 0 }, body = null;

  function lay() {
    const room = Math.max(7, Math.floor((heat.clientWidth - (heat.clientWidth < 560 ? 126 : 216)) / 13));
    first = Math.max(0, data.days.length - room);
    days = data.days.slice(first);
    at.day = Math.min(at.day, days.length - 1);
    const head = make("div", { className: "heat-head" }, make("span", {}), make("span", { textContent: days[0] }), make("span", { textContent: days[days.length - 1] }));
    head.setAttribute("aria-hidden", "true");
    head.style.width = `${(heat.clientWidth < 560 ? 110 : 200) + days.length * 13}px`;
    body = make("div", { className: "heat-body" }, make("div", {}));
    body.setAttribute("role", "grid");
    body.setAttribute("aria-label", "Drift by feature and day");
    body.setAttribute("aria-colcount", days.length + 1);
    body.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
    heat.replaceChildren(head, body);
    draw();
  }

  function tell(feature, index) {
    const cell = feature.cells[first + index], day = days[index];
    if (!cell) return `${feature.name}, ${day}: not evaluated`;
    return `${feature.name}, ${day}: ${number(cell[0])}${cell[1] === null ? "" : `, limit ${number(cell[1])}`}${cell[3] ? `, ${cell[3]}` : ""}`;
  }

  function cellOf(feature, row, index) {
    const cell = feature.cells[first + index];
    const node = make("span", { className: "cell", tabIndex: row === at.row && index === at.day ? 0 : -1, title: tell(feature, index) });
    node.setAttribute("role", "gridcell");
    node.setAttribute("aria-label", node.title);
    node.setAttribute("aria-colindex", index + 2);
    node.dataset.at = `${row} ${index}`;
    if (!cell) node.classList.add("empty-cell");
    else if (cell[1] === null || cell[1] <= 0) node.classList.add("unknown");
    else if (cell[0] >= cell[1]) node.classList.add("over");
    else node.style.setProperty("--r", cell[0] / cell[1]);
    if (cell && cell[3] === "critical") node.classList.add("over", "critical");
    return node;
  }

  function draw() {
    const from = Math.max(0, Math.floor(body.scrollTop / ROW) - SPARE), to = Math.min(shown.length, Math.ceil((body.scrollTop + body.clientHeight) / ROW) + SPARE);
    const inner = body.firstChild;
    const focused = document.activeElement && document.activeElement.dataset.at;
    inner.style.height = `${shown.length * ROW}px`;
    inner.setAttribute("role", "rowgroup");
    body.setAttribute("aria-rowcount", shown.length);
    const wanted = [...Array(Math.max(0, to - from)).keys()].map((index) => index + from);
    if (at.row < from || at.row >= to) { if (shown[at.row]) wanted.push(at.row); } // what has the focus stays
    inner.replaceChildren(...wanted.map((row) => {
      const name = make("span", { className: "heat-name", textContent: shown[row].name, title: shown[row].name });
      name.setAttribute("role", "rowheader");
      const line = make("div", { className: "heat-row" }, name, ...days.map((_, index) => cellOf(shown[row], row, index)));
      line.setAttribute("role", "row");
      line.setAttribute("aria-rowindex", row + 1);
      line.style.top = `${row * ROW}px`;
      return line;
    }));
    if (focused) inner.querySelector(`[data-at="${focused}"]`)?.focus({ preventScroll: true });
  }

  function go(row, day) {
    at = { row: Math.max(0, Math.min(shown.length - 1, row)), day: Math.max(0, Math.min(days.length - 1, day)) };
    const top = at.row * ROW;
    if (top < body.scrollTop) body.scrollTop = top;
    if (top + ROW > body.scrollTop + body.clientHeight) body.scrollTop = top + ROW - body.clientHeight;
    draw();
    body.querySelector(`[data-at="${at.row} ${at.day}"]`)?.focus({ preventScroll: true });
  }

  const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], PageUp: [-10, 0], PageDown: [10, 0], Home: [0, -1e6], End: [0, 1e6] };
  heat.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (move) go(at.row + move[0], at.day + move[1]);
    else if (event.key === "Enter" || event.key === " ") open(at.row, at.day);
    else return;
    event.preventDefault();
  });
  heat.addEventListener("click", (event) => {
    const cell = event.target.closest("[data-at]");
    if (!cell) return;
    const [row, day] = cell.dataset.at.split(" ").map(Number);
    go(row, day);
    open(row, day);
  });
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    event.preventDefault();
    search.focus();
  });
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = data.features.filter((one) => words.every((word) => one.name.toLowerCase().includes(word)));
    at = { row: 0, day: days.length - 1 };
    body.scrollTop = 0;
    document.getElementById("nothing").hidden = shown.length > 0;
    document.getElementById("count").textContent = `${shown.length} features`;
    draw();
  });

  const detail = document.getElementById("detail");
  async function open(row, index) {
    const feature = shown[row], day = days[index];
    if (!feature || !feature.cells[first + index]) return;
    history.replaceState(null, "", `#${encodeURIComponent(feature.name)}/${day}`);
    detail.hidden = false;
    detail.firstElementChild.textContent = `${feature.name}, window until ${day}`;
    const place = detail.lastElementChild, about = document.querySelector(`[data-feature="${CSS.escape(feature.name)}"]`);
    place.replaceChildren(make("p", { className: "sub", textContent: "Reading the verdict of this day…" }));
    let found = null;
    try {
      const answer = await fetch(`${heat.dataset.url}${day}?column=${encodeURIComponent(feature.name)}`, { credentials: "same-origin", headers: { Accept: "application/json" } });
      found = await answer.json();
      if (!answer.ok) throw new Error(found.detail);
      place.replaceChildren(...meaning(about), ...parts(found));
    } catch (error) {
      place.replaceChildren(make("p", { className: "notice", textContent: `The verdict of this day cannot be read: ${error.message}` }), make("p", { textContent: tell(feature, index) }));
    }
    detail.focus();
  }

  // The line of the table below, so that its links are there, too.
  function meaning(line) {
    if (!line) return [];
    const [description, owner, source, models] = [...line.cells].slice(1);
    const said = make("p", { className: "meaning" }, `${description.textContent === "–" ? "No description (documentation in the spec)" : description.textContent}. Owner: ${owner.textContent}. From ${source.textContent}.`);
    if (models.querySelector("a")) said.append(" Also used by ", ...[...models.cloneNode(true).childNodes], ".");
    return [said];
  }

  function parts(found) {
    const made = [make("p", { className: "sub", textContent: `${found.window_rows.toLocaleString("en")} rows against ${found.reference_rows.toLocaleString("en")}, ${found.start.slice(0, 10)} to ${found.end.slice(0, 10)}` })];
    const rows = found.tests.map((one) => [one.column, one.what, one.severity === "none" ? "no drift" : one.severity, `${one.measure} ${number(one.effect)} (${number(one.low)} to ${number(one.high)})`, number(one.threshold), one.calm ? number(one.calm) : "–", one.p_value.toPrecision(2), one.summary]);
    made.push(table(["Column", "Tested", "Verdict", "Effect (95 %)", "From", "Normal up to", "p-value", "What changed"], rows));
    for (const one of found.tests.filter((one) => one.bins.length)) made.push(make("h3", { className: "apart", textContent: `${one.column}: ${one.what}, share of rows` }), shares(one.bins));
    if (found.quality.length) made.push(make("h3", { className: "apart", textContent: "Missing values" }), list(found.quality));
    made.push(make("h3", { className: "apart", textContent: "Segments whose performance fell in this window" }), found.segments.length ? list(found.segments) : make("p", { className: "sub", textContent: "None, or no segments are evaluated (performance.slices, performance.search)." }));
    return made;
  }
  const list = (lines) => make("ul", {}, ...lines.map((line) => make("li", { textContent: line })));
  function table(head, rows) {
    const row = (cells, tag) => make("tr", {}, ...cells.map((cell) => { const node = make(tag, {}); node.append(cell); if (tag === "th") node.scope = "col"; return node; }));
    const scroll = make("div", { className: "scroll", tabIndex: 0 }, make("table", { className: "plain" }, make("thead", {}, row(head, "th")), make("tbody", {}, ...rows.map((cells) => row(cells, "td")))));
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", head.join(", "));
    return scroll;
  }
  function shares(bins) {
    const most = Math.max(...bins.flatMap((one) => [one.reference, one.window]), 1e-9);
    const bar = (value, look) => {
      const line = make("i", { className: look });
      line.style.width = `${(100 * value) / most}%`;
      return make("span", { className: "share" }, line, make("b", { textContent: share(value) }));
    };
    return table(["Values", "Reference", "Window"], bins.map((one) => [one.label, bar(one.reference, "old"), bar(one.window, "new")]));
  }

  lay();
  at.day = days.length - 1;
  draw();
  addEventListener("resize", lay);
  const [name, day] = location.hash.slice(1).split("/").map(decodeURIComponent);
  const row = shown.findIndex((one) => one.name === name);
  if (row >= 0 && days.includes(day)) { go(row, days.indexOf(day)); open(row, days.indexOf(day)); }
})();
