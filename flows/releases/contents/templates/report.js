(() => {
  const form = document.getElementById("filter");
  if (!form) return;
  const cards = [...document.querySelectorAll(".corrections > li")].map((card) => [card, card.textContent.toLowerCase()]);
  const said = form.querySelector("output");
  const show = () => {
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const which = form.elements.which.value;
    let shown = 0;
    for (const [card, text] of cards) {
      const fits = (!which || card.classList.contains(which)) && words.every((word) => text.includes(word));
      card.hidden = !fits;
      shown += fits;
    }
    said.textContent = `${shown} of ${cards.length}`;
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", () => {  // a link to a correction that is filtered away shows it
    const card = document.querySelector(`.corrections > li[id="${CSS.escape(location.hash.slice(1))}"]`);
    if (card && card.hidden) { form.reset(); show(); card.scrollIntoView(); }
  });
  form.hidden = false;
  show();
})();
