"use strict";
(() => {
  const { api, away, dagOf, nextRun, approvalLink, fresh, renew, watch } = window.evermodel;
  const WAITS_RANK = 3; // as of list_view.py: what waits for approval is first
  const table = document.getElementById("models");
  if (!table) return;
  const search = document.getElementById("search");
  const chips = [...document.querySelectorAll(".chip[data-show]")];
  const heads = [...table.querySelectorAll("th[data-key]")];
  const state = { query: "", show: "all", key: "rank", down: true };
  const order = document.getElementById("sort");
  let airflow = "asked"; // then "there" or "away"
  let dags = new Map();
  let waiting = new Map();

  // Asked by Airflow, or registered by a retrain on the command line, which asks nobody.
  const waits = (row) => waiting.has(row.dataset.name) || Boolean(row.dataset.waits);
  const rows = () => [...table.tBodies[0].rows];
  const attention = (row) => Number(row.dataset.rank) >= 1;

  function filter() {
    const words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows()) {
      const text = row.textContent.toLowerCase();
      const kind = state.show === "all" || (state.show === "attention" && attention(row))
        || (state.show === "rollout" && row.dataset.plan) || (state.show === "waiting" && waits(row));
      row.hidden = !(kind && words.every((word) => text.includes(word)));
      shown += row.hidden ? 0 : 1;
    }
    document.getElementById("nothing").hidden = shown > 0;
    document.getElementById("count").textContent = `${shown} models shown`;
    for (const chip of chips) chip.setAttribute("aria-pressed", String(chip.dataset.show === state.show));
  }

  function sort() {
    const number = state.key === "rank" || state.key === "value" || state.key === "share";
    const sign = state.down ? -1 : 1;
    const sorted = rows().sort((one, other) => {
      const [a, b] = [one.dataset[state.key], other.dataset[state.key]];
      const names = one.dataset.name.localeCompare(other.dataset.name);
      if (a === b) return names;
      if (a === "" || b === "") return a === "" ? 1 : -1;
      return sign * (number ? a - b : a.localeCompare(b)) || names;
    });
    table.tBodies[0].append(...sorted);
    for (const head of heads) {
      if (head.dataset.key === state.key) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    order.value = (state.down ? "-" : "") + state.key;
  }

  function remember() {
    const query = new URLSearchParams();
    if (state.query) query.set("q", state.query);
    if (state.show !== "all") query.set("show", state.show);
    if (state.key !== "rank") query.set("sort", (state.down ? "-" : "") + state.key);
    history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
  }

  function fromAirflow() {
    for (const row of rows()) {
      const dag = dags.get(dagOf("retrain", row.dataset.name));
      const place = row.querySelector("[data-next-run]");
      if (airflow === "there") row.dataset.next = nextRun(place, dag);
      else if (airflow === "away") place.textContent = "–";
      row.querySelector("[data-owner]").textContent = dag ? (dag.owners || []).join(", ") : "";
      const run = waiting.get(row.dataset.name);
      const link = row.querySelector("[data-waits]");
      if (run) approvalLink(link, row.dataset.name, run); else link.hidden = true;
      if (run) row.dataset.rank = WAITS_RANK;
    }
    for (const [name, counted] of [["waiting", waits], ["attention", attention]]) {
      document.querySelector(`.chip[data-show=${name}] b`).textContent = String(rows().filter(counted).length);
    }
  }

  async function all(path, name) {
    const found = [];
    for (let total = 1; found.length < total;) {
      const page = await api(`${path}&limit=100&offset=${found.length}`);
      if (!page[name].length) break;
      found.push(...page[name]);
      total = page.total_entries;
    }
    return found;
  }

  async function askAirflow() {
    try {
      dags = new Map((await all("dags?tags=retrain&exclude_stale=true", "dags")).map((dag) => [dag.dag_id, dag]));
      const asked = await all("dags/~/dagRuns/~/hitlDetails?response_received=false", "hitl_details");
      const open = asked.filter((one) => one.task_instance.task_id === "approve" && one.task_instance.dag_id.startsWith(dagOf("retrain", "")));
      waiting = new Map(open.map((one) => [one.task_instance.dag_id.slice(dagOf("retrain", "").length), one.task_instance.dag_run_id]));
      airflow = "there";
      document.getElementById("airflow-notice").hidden = true;
    } catch (error) {
      if (airflow === "asked") airflow = "away"; // else what it said last stays
      away(error);
    }
    fromAirflow();
    if (state.key === "next" || state.key === "rank") sort();
    filter();
  }

  // The list is asked for again while somebody looks at it; search, order and focus stay.
  async function again() {
    if (document.hidden) return;
    const page = await fresh();
    if (!page || !page.querySelector("#models tbody")) return;
    const focused = document.activeElement && document.activeElement.closest("#models tbody tr");
    renew(page, ["#models tbody", "#state", "body > footer"]);
    for (const chip of chips) {
      const next = page.querySelector(`.chip[data-show="${chip.dataset.show}"] b`);
      if (next) chip.querySelector("b").textContent = next.textContent;
    }
    fromAirflow();
    sort();
    filter();
    if (focused) table.querySelector(`tr[data-name="${CSS.escape(focused.dataset.name)}"] a`)?.focus();
  }

  search.addEventListener("input", () => { state.query = search.value; filter(); remember(); });
  for (const chip of chips) chip.addEventListener("click", () => { state.show = chip.dataset.show; filter(); remember(); });
  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      const first = head.dataset.first === "desc";
      state.down = state.key === head.dataset.key ? !state.down : first;
      state.key = head.dataset.key;
      sort();
      remember();
    });
  }
  function take(wanted) {
    state.key = wanted.replace(/^-/, "");
    state.down = wanted.startsWith("-");
    sort();
  }
  order.addEventListener("change", () => { take(order.value); remember(); });
  table.addEventListener("click", (event) => {
    if (event.target.closest("a, button") || String(getSelection())) return;
    event.target.closest("tbody tr")?.querySelector("a.name").click();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, textarea, select");
    if (event.key === "/" && !typing) { event.preventDefault(); search.focus(); }
    if (event.key === "Escape" && event.target === search) { search.value = state.query = ""; filter(); remember(); }
    if ((event.key === "ArrowDown" || event.key === "ArrowUp") && (event.target === search || event.target.matches("a.name"))) {
      const links = rows().filter((row) => !row.hidden).map((row) => row.querySelector("a.name"));
      const next = links.indexOf(event.target) + (event.key === "ArrowDown" ? 1 : -1);
      if (next < 0) search.focus(); else links[Math.min(next, links.length - 1)]?.focus();
      event.preventDefault();
    }
  });

  const query = new URLSearchParams(location.search);
  state.query = search.value = query.get("q") || "";
  if (chips.some((chip) => chip.dataset.show === query.get("show"))) state.show = query.get("show");
  const wanted = query.get("sort") || "";
  if (heads.some((head) => head.dataset.key === wanted.replace(/^-/, ""))) take(wanted);
  filter();
  askAirflow();
  watch(again);
  setInterval(askAirflow, 60000);
})();
