"use strict";
const form = document.querySelector(".filters");
const rows = [...document.querySelectorAll("tbody tr")];
function filter() {
  const text = form.elements.text.value.toLowerCase();
  const { how, kind } = { how: form.elements.how.value, kind: form.elements.kind.value };
  let shown = 0;
  for (const row of rows) {
    const fits = (!how || row.dataset.how === how) && (!kind || row.dataset.kind === kind)
      && row.textContent.toLowerCase().includes(text);
    row.hidden = !fits;
    shown += fits ? 1 : 0;
  }
  form.elements.shown.textContent = shown + " of " + rows.length + " rows";
}
form.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
filter();
