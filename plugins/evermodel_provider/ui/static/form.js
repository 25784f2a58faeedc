"use strict";
// The form of a DAG, made from the parameters that Airflow has for it; Airflow itself checks rights and values.
(() => {
  const { api } = window.evermodel;
  const dialog = document.getElementById("form");
  if (!dialog) return;
  const form = dialog.querySelector("form");
  const fields = dialog.querySelector(".fields");
  const notice = dialog.querySelector(".form-notice");
  const send = form.querySelector("[type=submit]");
  let current = null;
  let readers = {};

  function make(tag, properties, ...children) {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  }

  function say(message, look) {
    notice.textContent = message;
    notice.className = `form-notice ${look || ""}`;
    notice.hidden = !message;
  }

  // What the page knows and Airflow does not, such as the versions that served: [value, text] of each.
  function listFor(name, known) {
    const input = make("select", { name }, make("option", { value: "", textContent: "Default" }), ...known.map(([value, text]) => make("option", { value, textContent: text })));
    return [input, () => input.value || null];
  }

  function inputFor(name, param) {
    const schema = param.schema || {};
    const kinds = [].concat(schema.type || "string");
    const value = param.value;
    const empty = kinds.includes("null");
    if (kinds.includes("boolean")) {
      const input = make("input", { type: "checkbox", checked: Boolean(value), name });
      return [input, () => input.checked];
    }
    if (kinds.includes("array")) {
      const choices = (schema.items && schema.items.enum) || schema.examples;
      if (choices) return choicesFor(name, choices, value || []);
      const input = make("textarea", { name, rows: 3, value: (value || []).join("\n") });
      return [input, () => input.value.split("\n").map((line) => line.trim()).filter(Boolean)];
    }
    if (schema.enum) {
      const input = make("select", { name }, ...schema.enum.map((one) => make("option", { value: one, textContent: one, selected: one === value })));
      return [input, () => input.value];
    }
    const input = make("input", { name, value: value ?? "", required: !empty, type: schema.format === "date" ? "date" : kinds.includes("number") || kinds.includes("integer") ? "number" : "text" });
    if (input.type === "number") input.step = kinds.includes("number") ? "any" : "1";
    if (schema.minLength) input.minLength = schema.minLength;
    return [input, () => (input.value === "" && empty ? null : input.type === "number" ? Number(input.value) : input.value)];
  }

  function choicesFor(name, choices, chosen) {
    const boxes = choices.map((one) => make("input", { type: "checkbox", name, value: one, checked: chosen.includes(one) }));
    const group = make("div", {}, ...boxes.map((box) => make("label", { className: "check" }, box, make("span", { textContent: box.value }))));
    return [group, () => boxes.filter((box) => box.checked).map((box) => box.value)];
  }

  function field(name, param, known) {
    const schema = param.schema || {};
    const [input, read] = known && known.length ? listFor(name, known) : inputFor(name, param);
    readers[name] = read;
    const title = make("span", { textContent: schema.title || name });
    const note = make("small", { textContent: param.description || schema.description || "" });
    if (input.tagName === "DIV") return make("fieldset", { className: "field" }, make("legend", { textContent: title.textContent }), input, note);
    if (input.type === "checkbox") return make("label", { className: "field check" }, input, title, note);
    return make("label", { className: "field" }, title, input, note);
  }

  async function open(dag, title, choices = {}) {
    const found = await api(`dags/${encodeURIComponent(dag)}/details`);
    current = dag;
    readers = {};
    document.getElementById("form-title").textContent = title;
    fields.replaceChildren(...Object.entries(found.params || {}).map(([name, param]) => field(name, param, choices[name])));
    const force = fields.querySelector("[name=force]");
    const reason = fields.querySelector("[name=reason]");
    if (force && reason) force.addEventListener("change", () => { reason.required = force.checked; });
    const link = form.querySelector("[data-dag-link]");
    link.href = `${document.body.dataset.airflow}/dags/${encodeURIComponent(dag)}`;
    send.disabled = false;
    send.hidden = false;
    say(found.is_paused ? "This DAG is paused: runs start after it is unpaused." : "", "wait");
    dialog.showModal();
    (fields.querySelector("input, select, textarea") || send).focus();
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    const conf = Object.fromEntries(Object.entries(readers).map(([name, read]) => [name, read()]));
    try {
      const run = await api(`dags/${encodeURIComponent(current)}/dagRuns`, { method: "POST", body: JSON.stringify({ logical_date: null, conf }) });
      const link = make("a", { textContent: "See the run", href: `${document.body.dataset.airflow}/dags/${encodeURIComponent(current)}/runs/${encodeURIComponent(run.dag_run_id)}` });
      link.dataset.out = "top";
      say("Started. ");
      notice.append(link);
      send.hidden = true;
      fields.replaceChildren();
      link.focus();
    } catch (error) {
      say(error.status === 403 ? "You have no permission to start this DAG." : `Not started: ${error.message}`, "bad");
      send.disabled = false;
    }
  });
  for (const button of dialog.querySelectorAll("[data-close]")) button.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  window.evermodel.openForm = open;
})();
