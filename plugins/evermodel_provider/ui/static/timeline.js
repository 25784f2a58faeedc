"use strict";
// The time line: the metric with its interval above, one row for each kind of event below, one axis of days for all.
(() => {
  const place = document.getElementById("timeline");
  const source = document.getElementById("chart");
  if (!place || !source) return;
  const data = JSON.parse(source.textContent);
  const DAY = 86400000;
  const ROWS = ["Champion", "Rollouts", "Retrains", "Incidents", "Serving", "Performance", "Data quality", "Drift"];
  const LEVEL = { none: 0, warning: 1, critical: 2 };
  const ENDS = { rolled_back: "critical", stopped: "faint", overtaken: "faint" };
  const WORDS = { none: "quiet", warning: "warning", critical: "critical", "": "not evaluated" };
  const days = data.days;
  const first = Date.parse(days[0].day), last = Date.parse(days[days.length - 1].day);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  // What people write into reasons is text, never markup of the chart.
  const text = (value) => String(value ?? "").replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const wrapped = (value) => text(value).replace(/(.{60,90}?)\s/g, "$1<br>");
  const number = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));

  // Incidents that overlap have rows of their own, below the one with the name.
  const lanes = [];
  for (const one of data.incidents) {
    const [start, end] = [Date.parse(one.opened), one.ended ? Date.parse(one.ended) : Infinity];
    const free = lanes.findIndex((until) => until < start);
    one.lane = free < 0 ? lanes.length : free;
    lanes[one.lane] = end;
  }
  const laneRow = (lane) => (lane ? " ".repeat(lane) : "Incidents");
  const extraRows = lanes.map((_, lane) => laneRow(lane)).slice(1).reverse();

  const shown = () => ROWS.flatMap((row) => (row === "Incidents" ? [...extraRows, row] : row !== "Rollouts" || data.rollouts.length ? [row] : []));
  let span = 0;
  const shownDays = () => span || (last - first) / DAY + 1;

  function clear(hex, share) {
    const parts = hex.replace("#", "").match(/../g).map((part) => parseInt(part, 16));
    return `rgba(${parts.join(",")},${share})`;
  }

  function metric() {
    const x = days.map((day) => day.day);
    const said = days.map((day) => [
      `<b>${number(day.value)}</b>`,
      day.low === null || day.low === undefined ? "" : ` (${number(day.low)} to ${number(day.high)})`,
      day.promised === null || day.promised === undefined ? "" : `, baseline ${number(day.promised)}`,
      day.limit === null || day.limit === undefined ? "" : `, limit ${number(day.limit)}`,
      ` · v${text(day.version)}`,
      day.columns.length ? `<br>moved: ${wrapped(day.columns.join(", "))}` : "",
      day.answer ? `<br>${wrapped(day.answer)}` : "",
    ].join(""));
    const band = { x, mode: "lines", line: { width: 0 }, hoverinfo: "skip", connectgaps: false };
    return [
      { ...band, y: days.map((day) => day.low) },
      { ...band, y: days.map((day) => day.high), fill: "tonexty", fillcolor: clear(colour("accent"), 0.16) },
      { x, y: days.map((day) => day.promised), mode: "lines", line: { color: colour("faint"), width: 1.3, dash: "dot", shape: "hv" }, hoverinfo: "skip" },
      { x, y: days.map((day) => day.limit), mode: "lines", line: { color: colour("warning"), width: 1.3, dash: "dot", shape: "hv" }, hoverinfo: "skip" },
      { x, y: days.map((day) => day.value), mode: days.length > 120 ? "lines" : "lines+markers", line: { color: colour("accent"), width: 1.8 },
        marker: { size: 4.500 }, text: said, hovertemplate: "%{text}<extra></extra>" },
    ];
  }

  function severities() {
    // Plotly's heatmap wants a value for every row of its axis, also for those that it leaves empty.
    const names = shown();
    const kinds = names.map((name) => data.kinds.indexOf(name));
    const quiet = colour("row"), warning = colour("warning"), critical = colour("critical");
    return {
      type: "heatmap", yaxis: "y2", x: days.map((day) => day.day), y: names, xgap: days.length > 120 ? 0 : 1, ygap: place.clientWidth < 560 ? 14 : 13, zmin: 0, zmax: 2,
      z: kinds.map((kind) => days.map((day) => LEVEL[day.severities[kind]] ?? null)),
      text: kinds.map((kind, row) => days.map((day) => (kind < 0 ? "" : `${names[row]}: ${WORDS[day.severities[kind]] ?? text(day.severities[kind])}${day.reasons[kind] ? `, ${wrapped(day.reasons[kind])}` : ""}`))),
      hovertemplate: "%{text}<extra></extra>", showscale: false, hoverongaps: false,
      colorscale: [[0, quiet], [0.330, quiet], [0.330, warning], [0.660, warning], [0.660, critical], [1, critical]],
    };
  }

  function bars(row, parts) {
    const known = parts.filter((part) => Number.isFinite(part.start));
    const shortest = Math.max(DAY / 2, (shownDays() * DAY * 5) / Math.max(place.clientWidth, 1)); // five pixels: it has to be seen
    return {
      type: "bar", orientation: "h", yaxis: "y2", width: 0.560, y: known.map((part) => part.row || row),
      base: known.map((part) => new Date(part.start).toISOString()), x: known.map((part) => Math.max(part.end - part.start, shortest)),
      marker: { color: known.map((part) => part.colour), line: { color: colour("page"), width: 1 } },
      text: known.map((part) => part.label), textposition: "inside", insidetextanchor: "middle", textangle: 0, constraintext: "none", cliponaxis: true,
      textfont: { size: 11, color: known.map((part) => part.ink) },
      customdata: known.map((part) => part.said), hovertemplate: "%{customdata}<extra></extra>",
    };
  }

  function events() {
    const raise = [colour("tint"), colour("raise")];
    const wide = shownDays() / (place.clientWidth < 560 ? 12 : 40);
    const champions = data.champions.map((one, index) => {
      const [start, end] = [Date.parse(one.start) - DAY / 2, Date.parse(one.end) + DAY / 2];
      return { start, end, colour: raise[index % 2], ink: colour("ink"), label: (end - start) / DAY > wide ? `v${text(one.version)}` : "",
        said: `<b>v${text(one.version)}</b> was champion, ${text(one.start)} to ${text(one.end)}` };
    });
    const incidents = data.incidents.map((one) => ({
      start: Date.parse(one.opened) - DAY / 2, end: (one.ended ? Date.parse(one.ended) : last) + DAY / 2, colour: colour(LEVEL[one.severity] === 2 ? "critical" : "warning"), row: laneRow(one.lane),
      ink: LEVEL[one.severity] === 2 ? colour("page") : "#18181b", label: text(one.row), said: `<b>${text(one.row)} incident</b>, ${text(one.opened)} to ${text(one.ended || "now")}<br>${wrapped(one.reason)}${one.cause ? `<br>${wrapped(one.cause)}` : ""}`,
    }));
    const rollouts = data.rollouts.map((one) => ({
      start: Date.parse(one.start), end: one.end ? Date.parse(one.end) : Math.max(last + DAY / 2, Date.parse(one.start) + DAY), colour: colour(ENDS[one.state] || "accent"), ink: colour("accent-ink"),
      label: "", said: `<b>Rollout of v${text(one.version)}</b>, ${text(one.strategy.replace("_", " "))}, ${one.end ? text(one.state.replace("_", " ")) : "running"}<br>${wrapped(one.why || one.reason)}`,
    }));
    for (const one of incidents) if ((one.end - one.start) / DAY < (wide * one.label.length) / 4) one.label = "";
    return [bars("Champion", champions), bars("Incidents", incidents), bars("Rollouts", rollouts), retrains()];
  }

  function retrains() {
    const marks = { shipped: "triangle-up", kept: "circle-open", open: "circle", failed: "x" };
    const all = [
      ...data.retrains.map((one) => ({ day: one.day, look: one.look, said: `<b>Retrain: ${text(one.text)}</b>${one.note ? `, ${text(one.note)}` : ""}${one.gain === null ? "" : ` ${one.gain < 0 ? "−" : "+"}${Math.abs(one.gain).toFixed(3)}`}<br>${wrapped(one.reason)}` })),
      ...data.rollbacks.map((one) => ({ day: one.day, look: "rollback", said: `<b>Rollback to v${text(one.version)}</b> by ${text(one.by)}<br>${wrapped(one.reason)}` })),
    ];
    return {
      type: "scatter", mode: "markers", yaxis: "y2", x: all.map((one) => one.day), y: all.map(() => "Retrains"),
      marker: { opacity: 1, size: all.map((one) => (one.look === "kept" ? 7 : 10)), symbol: all.map((one) => marks[one.look] || "triangle-left"),
        color: all.map((one) => colour(one.look === "shipped" ? "accent" : one.look === "failed" || one.look === "rollback" ? "critical" : "faint")), line: { width: all.map((one) => (one.look === "kept" ? 1.500 : 0)) } },
      text: all.map((one) => one.said), hovertemplate: "%{text}<extra></extra>",
    };
  }

  function layout() {
    const axis = { gridcolor: colour("soft"), linecolor: colour("rule"), zeroline: false, tickfont: { color: colour("muted") }, fixedrange: true };
    const narrow = place.clientWidth < 560;
    const from = span ? Math.max(first - DAY, last - (span - 0.5) * DAY) : first - DAY;
    const rows = shown();
    return {
      margin: { l: narrow ? 82 : 96, r: 8, t: 8, b: 42 }, showlegend: false, barmode: "overlay", hovermode: narrow ? "closest" : "x", hoverdistance: 40,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: getComputedStyle(document.body).fontFamily, size: narrow ? 11 : 12, color: colour("ink") },
      hoverlabel: { bgcolor: colour("card"), bordercolor: colour("rule"), align: "left", font: { color: colour("ink"), size: 12 } },
      xaxis: { ...axis, type: "date", range: [new Date(from).toISOString(), new Date(last + DAY).toISOString()], showgrid: false, ticks: "outside", tickcolor: colour("rule"),
        anchor: "y2", showspikes: true, spikemode: "across", spikethickness: 1, spikedash: "solid", spikecolor: colour("rule"), spikesnap: "hovered data" },
      yaxis: { ...axis, domain: [0.460, 1], title: { text: text(data.metric), font: { size: 12, color: colour("muted") }, standoff: 6 }, nticks: 6, range: heights(from) },
      yaxis2: { ...axis, domain: [0, 0.420], type: "category", categoryorder: "array", categoryarray: rows, range: [-0.5, rows.length - 0.5], showgrid: false, ticks: "" },
      dragmode: false,
    };
  }

  function heights(from) {
    const seen = days.filter((day) => Date.parse(day.day) >= from).flatMap((day) => [day.value, day.low, day.high, day.promised, day.limit]).filter((value) => typeof value === "number");
    if (!seen.length) return undefined;
    const [low, high] = [Math.min(...seen), Math.max(...seen)];
    const room = Math.max(high - low, 1e-6) * 0.06;
    return [low - room, high + room];
  }

  function draw() {
    if (!window.Plotly) {
      place.hidden = true;
      document.getElementById("no-charts").hidden = false;
      return;
    }
    window.Plotly.react(place, [...metric(), severities(), ...events()], layout(), { displayModeBar: false, responsive: true, locale: "en" });
  }

  const ranges = [...document.querySelectorAll("#ranges [data-days]")];
  function choose(wanted) {
    span = wanted;
    for (const chip of ranges) chip.setAttribute("aria-pressed", String(Number(chip.dataset.days) === wanted));
    draw();
  }
  for (const chip of ranges) chip.addEventListener("click", () => choose(Number(chip.dataset.days)));
  document.addEventListener("themed", draw);
  choose((last - first) / DAY > 120 ? 90 : 0);
  // A click on a day leads to its report. A finger cannot point without a tap, so the first tap only shows the day.
  let finger = false, tapped = null, at = 0;
  place.addEventListener("pointerdown", (event) => { finger = event.pointerType === "touch"; }, true);
  place.addEventListener("touchstart", () => { finger = true; }, { capture: true, passive: true });
  function tell(day) {
    const line = document.getElementById("day");
    const link = day.url ? Object.assign(document.createElement("a"), { href: day.url, textContent: "Open its drift report" }) : "";
    if (link) link.dataset.out = "";
    line.replaceChildren(`${day.day}: ${number(day.value)} on v${day.version}. ${day.reasons.filter(Boolean).join("; ")} `, link);
    line.hidden = false;
  }
  if (place.on) place.on("plotly_click", (event) => {
    const point = event.points.find((one) => one.data.type !== "bar" && one.data.yaxis !== "y2") || event.points[0];
    const day = days.find((one) => one.day === String(point.x).slice(0, 10));
    if (!day) return;
    const again = tapped === day && Date.now() - at > 500; // the chart may hear of one tap twice
    if (!day.url || (finger && !again)) {
      if (tapped !== day) at = Date.now();
      tell(tapped = day);
    } else window.evermodel.leave(day.url, false);
  });
})();
