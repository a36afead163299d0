(() => {
  const form = document.getElementById("filter");
  if (!form) return;
  const cards = [...document.querySelectorAll(".corrections > li")].map((card) => [card, card.textContent.toLowerCase()]);
  const [said, more] = [form.querySelector("output"), form.querySelector("button")];
  let most = 96;  // of what nobody searched for: the first are those to look at
  const show = () => {
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const which = form.elements.which.value;
    const first = which || words.length ? cards.length : most;
    let shown = 0;
    for (const [card, text] of cards) {
      const fits = shown < first && (!which || card.classList.contains(which)) && words.every((word) => text.includes(word));
      card.hidden = !fits;
      shown += fits;
    }
    said.textContent = `${shown} of ${cards.length}`;
    more.hidden = cards.length <= first;
  };
  const all = () => { most = cards.length; show(); };
  form.addEventListener("input", show);
  more.addEventListener("click", all);
  form.addEventListener("submit", (event) => event.preventDefault());
  const follow = () => {  // a link to a correction that is not shown shows it
    const card = document.querySelector(`.corrections > li[id="${CSS.escape(location.hash.slice(1))}"]`);
    if (card && card.hidden) { form.reset(); all(); card.scrollIntoView(); }
  };
  window.addEventListener("hashchange", follow);
  window.addEventListener("beforeprint", all);
  form.hidden = false;
  show();
  follow();
})();
