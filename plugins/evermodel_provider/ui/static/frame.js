"use strict";
// What both pages need: the theme of Airflow, links out of its frame, its REST API.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function theme() {
    let chosen = "system";
    try { chosen = localStorage.getItem("theme") || "system"; } catch { /* storage may be forbidden */ }
    const next = chosen === "dark" || (chosen !== "light" && dark.matches) ? "dark" : "light";
    if (root.dataset.theme === next) return;
    root.dataset.theme = next;
    document.dispatchEvent(new CustomEvent("themed"));
  }
  theme();
  addEventListener("storage", theme);
  dark.addEventListener("change", theme);
  // Paper is white: browsers print no backgrounds, and the charts have their colours from the theme.
  addEventListener("beforeprint", () => { root.dataset.theme = "light"; document.dispatchEvent(new CustomEvent("themed")); });
  addEventListener("afterprint", theme);

  // Airflow shows the page in a frame that may not open windows or lead the whole page elsewhere: the page around it
  // does that for us.
  function leave(address, top) {
    if (!/^https?:$/.test(new URL(address, location.href).protocol)) return;
    let page = document;
    try { if (parent !== window && parent.document) page = parent.document; } catch { /* another origin */ }
    const link = page.createElement("a");
    link.href = address;
    if (!top) { link.target = "_blank"; link.rel = "noopener noreferrer"; }
    page.body.append(link);
    link.click();
    link.remove();
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-out]");
    if (!link || !link.href || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    leave(link.href, link.dataset.out === "top");
  });

  async function api(path, options) {
    const answer = await fetch(`${document.body.dataset.airflow}/api/v2/${path}`, {
      credentials: "same-origin", headers: { Accept: "application/json", "Content-Type": "application/json" }, ...options,
    });
    let data = null;
    try { data = await answer.json(); } catch { /* no JSON */ }
    if (!answer.ok) throw Object.assign(new Error(detail(data) || `Airflow answered ${answer.status}`), { status: answer.status });
    return data;
  }
  function detail(data) {
    const found = data && data.detail;
    if (Array.isArray(found)) return found.map((one) => `${(one.loc || []).slice(1).join(".")}: ${one.msg}`).join("; ");
    return typeof found === "string" ? found : "";
  }
  function away(error) {
    const notice = document.getElementById("airflow-notice");
    notice.textContent = `Airflow's API cannot be reached (${error.message}): schedules, approvals and forms are not shown.`;
    notice.hidden = false;
  }
  function until(moment) {
    const minutes = (new Date(moment) - Date.now()) / 60000;
    if (minutes < 1) return "now";
    if (minutes < 60) return `in ${Math.round(minutes)} min`;
    return minutes < 2880 ? `in ${Math.round(minutes / 60)} h` : `in ${Math.round(minutes / 1440)} d`;
  }
  function nextRun(place, dag) {
    place.className = "";
    if (!dag) { place.textContent = "no DAG"; place.className = "none"; return ""; }
    if (dag.is_paused) { place.textContent = "paused"; place.className = "waits"; return ""; }
    const moment = dag.next_dagrun_run_after;
    if (!moment) { place.textContent = "on request"; place.className = "none"; return ""; }
    place.textContent = until(moment);
    place.title = new Date(moment).toLocaleString();
    return moment;
  }
  const dagOf = (kind, model) => `${document.body.dataset.prefix}${kind}_${model}`;
  function approvalLink(link, model, run) {
    link.href = `${document.body.dataset.airflow}/dags/${encodeURIComponent(dagOf("retrain", model))}/runs/${encodeURIComponent(run)}/tasks/approve/required_actions`;
    link.dataset.out = "top";
    link.hidden = false;
  }
  // How old what is shown is, while the page stays open.
  function span(seconds) {
    const [length, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([length]) => seconds >= length) || [1, "s"];
    return `${Math.max(0, Math.round(seconds / length))} ${unit}`;
  }
  function grow() {
    for (const place of document.querySelectorAll("[data-age]")) place.textContent = span((Date.now() - Date.parse(place.dateTime)) / 1000);
  }
  setInterval(grow, 5000);

  // This page as it is now on the server; null if that does not answer.
  async function fresh() {
    try {
      const answer = await fetch(location.pathname, { credentials: "same-origin", headers: { Accept: "text/html" } });
      return answer.ok ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
    } catch { return null; }
  }
  function renew(page, parts) {
    for (const part of parts) {
      const [old, next] = [document.querySelector(part), page.querySelector(part)];
      if (old && next) old.replaceWith(document.adoptNode(next));
    }
  }
  // A page is shown at once, however old its state is; what came of the refresh that it started is asked for soon.
  const PROBED = [1600, 7000]; // MLflow is waited for a little less; the second time a slow one has answered
  function watch(again) {
    const follow = () => PROBED.forEach((wait) => setTimeout(() => { if (document.querySelector("#state[data-stale]")) again(); }, wait));
    follow();
    setInterval(async () => { await again(); follow(); }, 20000);
  }
  window.evermodel = { watch, fresh, renew, api, away, dagOf, nextRun, approvalLink, leave };
})();
