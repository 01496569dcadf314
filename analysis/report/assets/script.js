"use strict";
{
  const MANY = 8; // rows; fewer need no filter
  const numberOf = (text) => Number.parseFloat(text.replace(/[<,]/g, "").replace("\u2212", "-"));

  const keyOf = (row, column, isNumber) => {
    const text = row.cells[column].textContent.trim();
    if (!isNumber) return text;
    const number = numberOf(text);
    return Number.isNaN(number) ? null : number;
  };

  const order = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);

  const sort = (table, header) => {
    const column = header.cellIndex;
    const isNumber = header.classList.contains("n");
    const first = isNumber ? "descending" : "ascending";
    const second = isNumber ? "ascending" : "descending";
    const direction = header.getAttribute("aria-sort") === first ? second : first;
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    const rows = Array.from(table.tBodies[0].rows, (row) => [keyOf(row, column, isNumber), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * order(a, b);
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };

  const makeSortable = (table) => {
    for (const header of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-label", `Sort by ${header.textContent}`);
      header.append(button);
      header.addEventListener("click", () => sort(table, header));
    }
  };

  const labelled = (text, control) => {
    const label = document.createElement("label");
    label.append(text, control);
    return label;
  };

  const makeFilterable = (table) => {
    const rows = Array.from(table.tBodies[0].rows);
    if (table.dataset.filter === undefined || rows.length < MANY) return;
    const tagOf = (row) => row.cells[table.dataset.filter].firstChild.textContent.trim();
    const tags = new Set(rows.map(tagOf));
    const select = document.createElement("select");
    for (const tag of ["all", ...tags]) select.append(new Option(tag, tag));
    const input = document.createElement("input");
    input.type = "search";
    const count = document.createElement("span");
    count.setAttribute("role", "status");
    const filter = () => {
      const wanted = input.value.trim().toLowerCase();
      let shown = 0;
      for (const row of rows) {
        const fits =
          (select.value === "all" || tagOf(row) === select.value) &&
          row.cells[0].textContent.toLowerCase().includes(wanted);
        row.hidden = !fits;
        shown += fits;
      }
      count.textContent = `${shown} of ${rows.length} rows`;
    };
    select.addEventListener("change", filter);
    input.addEventListener("input", filter);
    const bar = document.createElement("div");
    bar.className = "filters";
    bar.append(labelled("Weights", select), labelled("Model", input), count);
    table.parentElement.before(bar);
    filter();
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tBodies[0].rows.length > 2) makeSortable(table);
    makeFilterable(table);
  }
}
