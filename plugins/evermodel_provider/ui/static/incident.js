"use strict";
// Answers to an open incident: the server checks the right, writes the audit log, and ends what is over.
(() => {
  const { fresh, renew } = window.evermodel;
  const place = () => document.getElementById("troubles");
  const dialog = document.getElementById("answer");
  if (!place() || !dialog) return;
  const form = dialog.querySelector("form");
  const [submit, notice] = [form.querySelector("[type=submit]"), form.querySelector(".form-notice")];
  const model = document.querySelector("[data-model]").dataset.model;
  const FORMS = {
    muted: { label: "Mute", span: "P1D", means: "Reminders and escalations stop for this time; what became worse meanwhile is escalated afterwards." },
    expected: { label: "Expected", span: "", note: true, means: "The change is intended: reminders and escalations stop. Name the change." },
  };
  let current = null;

  async function send(incident, answer) {
    const address = `${document.body.dataset.here}/models/${encodeURIComponent(model)}/incidents/${encodeURIComponent(incident)}`;
    const got = await fetch(address, { method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" }, body: JSON.stringify(answer) });
    let data = {};
    try { data = await got.json(); } catch { /* no JSON */ }
    if (!got.ok) throw new Error(typeof data.detail === "string" ? data.detail : `Not recorded: status ${got.status}`);
    const page = await fresh();
    if (page) {
      renew(page, ["#troubles"]);
      document.querySelector("main").dataset.mark = page.querySelector("main").dataset.mark;
    }
    document.getElementById("answered").textContent = data.text;
    place().querySelector(`[data-incident="${CSS.escape(incident)}"] button`)?.focus();
  }

  function ask(incident, title, kind) {
    const { label, span, note, means } = FORMS[kind];
    current = { incident, kind };
    form.reset();
    form.elements.span.value = span;
    form.elements.note.required = Boolean(note);
    document.getElementById("answer-title").textContent = `${label}: ${title}`;
    form.querySelector("[data-means]").textContent = means;
    submit.textContent = label;
    submit.disabled = false;
    notice.hidden = true;
    dialog.showModal();
    form.elements.note.focus();
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("#troubles [data-answer]");
    if (!button) return;
    const { incident, title } = button.closest("[data-incident]").dataset;
    const kind = button.dataset.answer;
    if (kind in FORMS) { ask(incident, title, kind); return; }
    button.disabled = true;
    try {
      await send(incident, { answer: kind });
    } catch (error) {
      button.disabled = false;
      const said = document.getElementById("airflow-notice");
      said.textContent = error.message;
      said.hidden = false;
    }
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      await send(current.incident, { answer: current.kind, span: form.elements.span.value || null, note: form.elements.note.value });
      dialog.close();
      place().querySelector(`[data-incident="${CSS.escape(current.incident)}"] button`)?.focus();
    } catch (error) {
      notice.textContent = error.message;
      notice.hidden = false;
      submit.disabled = false;
    }
  });
  for (const button of dialog.querySelectorAll("[data-close]")) button.addEventListener("click", () => dialog.close());
})();
