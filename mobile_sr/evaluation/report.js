"use strict";
// A viewer: two versions of an image, the left one cut at the divider. The images are those of its figures.
for (const viewer of document.querySelectorAll(".viewer")) {
  const chosen = name => viewer.querySelector(`[data-choose="${name}"]`);
  const stage = viewer.querySelector(".stage"), pair = viewer.querySelector(".pair"), range = viewer.querySelector("input");
  const move = () => pair.style.setProperty("--cut", `${range.value / 10}%`);
  const show = () => {
    for (const side of ["left", "right"]) {
      const figure = viewer.querySelector(`[data-view="${chosen("view").value}"][data-panel="${chosen(side).value}"]`);
      const source = figure.querySelector("img"), image = viewer.querySelector(`[data-side="${side}"]`);
      image.src = source.src;
      image.alt = source.alt;
      viewer.querySelector(`[data-name="${side}"]`).textContent = figure.querySelector("figcaption").textContent;
      const zoom = Number(chosen("zoom").value);
      image.decode().catch(() => {}).then(() => { pair.style.width = zoom ? `${zoom * image.naturalWidth}px` : ""; });
    }
    stage.classList.toggle("zoomed", chosen("zoom").value !== "0");
  };
  const drag = event => {
    if (event.pointerType !== "mouse" && stage.classList.contains("zoomed")) return;  // a finger scrolls
    const box = pair.getBoundingClientRect();
    range.value = 1000 * (event.clientX - box.left) / box.width;
    move();
  };
  pair.addEventListener("pointermove", drag);
  pair.addEventListener("pointerdown", drag);
  range.addEventListener("input", move);
  for (const select of viewer.querySelectorAll("select")) select.addEventListener("change", show);
  for (const part of viewer.querySelectorAll("[hidden]")) part.hidden = false;
  show();
  move();
}
// Tables: a click on a heading sorts by its column, text in the search field hides the other rows.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], headings = [...table.tHead.rows[0].cells];
  const value = (row, k) => row.cells[k].dataset.value ?? row.cells[k].textContent;
  headings.forEach((heading, k) => {
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const numbers = [...body.rows].every(row => value(row, k) === "" || !isNaN(value(row, k)));
      const down = heading.ariaSort ? heading.ariaSort === "ascending" : numbers;  // numbers: the largest first
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const order = (a, b) => {
        const [x, y] = [value(a, k), value(b, k)];
        if (x === "" || y === "") return (x === "") - (y === "");  // no figure: last
        return (down ? -1 : 1) * (numbers ? x - y : x.localeCompare(y));
      };
      body.append(...[...body.rows].sort(order));
    });
  });
}
for (const field of document.querySelectorAll("input[data-filter]")) {
  const body = document.getElementById(field.dataset.filter).tBodies[0];
  field.closest("[hidden]").hidden = false;
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
