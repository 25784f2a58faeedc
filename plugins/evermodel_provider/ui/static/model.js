"use strict";
// What Airflow knows of this model: its DAGs, when the next retrain is due, what waits for an answer.
(() => {
  const { api, away, dagOf, nextRun, approvalLink, openForm, fresh, renew, watch } = window.evermodel;
  const head = document.querySelector("[data-model]");
  if (!head) return;
  const model = head.dataset.model;
  const owns = ["retrain", "drift", "score", "rollback", "rollout", "stop_rollout", "backtest"].map((kind) => dagOf(kind, model));

  function showDags(dags) {
    const retrain = dags.get(dagOf("retrain", model));
    nextRun(document.querySelector("[data-next-run]"), retrain);
    head.querySelector("[data-owner]").textContent = retrain ? [(retrain.owners || []).join(", "), retrain.is_paused ? "paused" : ""].filter(Boolean).join(" · ") : "";
    for (const button of head.querySelectorAll("[data-form]")) {
      const dag = dags.get(button.dataset.form);
      button.hidden = !dag;
      button.disabled = !button.dataset.may;
      if (button.disabled) button.title = "You have no permission to start this DAG.";
    }
    document.querySelector("[data-dags]").replaceChildren(...owns.filter((name) => dags.has(name)).map((name) => {
      const link = document.createElement("a");
      link.href = `${document.body.dataset.airflow}/dags/${encodeURIComponent(name)}`;
      link.textContent = name;
      link.dataset.out = "top";
      return link;
    }));
  }

  async function askAirflow() {
    try {
      const found = await api(`dags?limit=100&tags=${encodeURIComponent(model)}&exclude_stale=true`);
      showDags(new Map(found.dags.map((dag) => [dag.dag_id, dag])));
      const asked = await api(`dags/${encodeURIComponent(dagOf("retrain", model))}/dagRuns/~/hitlDetails?response_received=false&limit=10`);
      const open = (asked.hitl_details || []).find((one) => one.task_instance.task_id === "approve");
      document.getElementById("waits").hidden = !open;
      if (open) approvalLink(document.querySelector("[data-waits]"), model, open.task_instance.dag_run_id);
      document.getElementById("airflow-notice").hidden = true;
    } catch (error) {
      if (error.status !== 404) away(error);
      const place = document.querySelector("[data-next-run]");
      if (place.textContent === "…") place.textContent = "–";
    }
  }

  for (const button of head.querySelectorAll("[data-form]")) {
    button.addEventListener("click", async () => {
      try {
        await openForm(button.dataset.form, `${button.textContent.replace("…", "")} ${model}`, JSON.parse(button.dataset.choices));
      } catch (error) {
        away(error);
      }
    });
  }
  // What is open stays open: where something is new, the reader is told, and asks for it.
  async function again() {
    const page = document.hidden ? null : await fresh();
    const news = document.getElementById("news");
    if (!page || !page.querySelector("main[data-mark]")) return;
    renew(page, ["#state", "body > footer"]);
    if (page.querySelector("main").dataset.mark !== document.querySelector("main").dataset.mark) news.hidden = false;
  }
  document.querySelector("#news button").addEventListener("click", () => location.reload());
  watch(again);

  askAirflow();
  setInterval(() => { if (!document.hidden) askAirflow(); }, 60000);
})();
