"use strict";
// Without this script the page is whole, and its rows are in the order of the report.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const isNumber = head.classList.contains("n");
      const key = (row) => {
        const cell = row.cells[column];
        if (!isNumber) return cell.textContent;
        const value = cell.dataset.v;
        return value === "inf" ? Infinity : value === "-inf" ? -Infinity : Number.parseFloat(value);
      };
      const order = (a, b) => {
        if (!isNumber) return a.localeCompare(b, "en", { numeric: true });
        return a === b ? 0 : a < b ? -1 : 1;
      };
      const rows = [...body.rows].map((row) => [key(row), row]);
      rows.sort(([a], [b]) => {
        // What is undefined comes last, whichever way.
        if (isNumber && (Number.isNaN(a) || Number.isNaN(b))) return Number.isNaN(a) - Number.isNaN(b);
        return up ? order(a, b) : order(b, a);
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}
const table = document.getElementById("rows");
const place = (name) => [...table.tHead.rows[0].cells].findIndex((head) => head.textContent === name);
const [tensor, scheme] = [place("tensor"), place("scheme")];
const [byName, byScheme] = [document.getElementById("name"), document.getElementById("scheme")];
const rows = [...table.tBodies[0].rows];
const filter = () => {
  const part = byName.value.toLowerCase();
  let shown = 0;
  for (const row of rows) {
    const fits = row.cells[tensor].textContent.toLowerCase().includes(part);
    row.hidden = !(fits && (byScheme.value === "" || row.cells[scheme].textContent === byScheme.value));
    if (!row.hidden) shown += 1;
  }
  document.getElementById("count").textContent = `${shown} of ${rows.length} rows`;
};
const form = document.getElementById("filter");
form.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
filter();
