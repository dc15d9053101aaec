"use strict";
// Filters the worst images: an image stays while one of its errors fits the detector, kind, class and score.
(() => {
  const form = document.getElementById("filter");
  const cards = [...document.querySelectorAll(".card")];
  const count = document.getElementById("count");

  function fits(item) {
    const { kind, category, expected, score } = item.dataset;
    const wanted = form.elements.category.value;
    return (
      (!form.elements.kind.value || kind === form.elements.kind.value) &&
      (!wanted || category === wanted || expected === wanted) &&
      (score === "" || Number(score) >= Number(form.elements.score.value))
    );
  }

  function apply() {
    form.elements.shown.value = Number(form.elements.score.value).toFixed(2);
    let shown = 0;
    for (const card of cards) {
      const items = [...card.querySelectorAll("li")];
      const boxes = card.querySelectorAll("[data-error]");
      items.forEach((item, i) => {
        item.hidden = !fits(item);
        boxes[i].style.display = item.hidden ? "none" : "";
      });
      const row = form.elements.row.value;
      card.hidden = (row && card.dataset.row !== row) || items.every((item) => item.hidden);
      shown += card.hidden ? 0 : 1;
    }
    count.textContent = shown ? `${shown} of ${cards.length} images` : "No image has such an error. Choose less.";
  }

  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
})();
