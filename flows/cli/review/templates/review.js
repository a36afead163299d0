"use strict";
// Keys for the queue, and decisions without leaving the page. Everything works without this file as well.
(() => {
  const enter = document.querySelector("form.enter");
  function signIn() { // the link that `errata review` prints; what follows # no server sees
    if (location.hash.length < 2) return;
    enter.elements.token.value = decodeURIComponent(location.hash.slice(1));
    history.replaceState(null, "", location.pathname);
    enter.submit();
  }
  if (enter) {
    window.addEventListener("hashchange", signIn);
    signIn();
  }
  for (const image of document.querySelectorAll("main img")) { // few pixels are shown as such, photos smooth
    const look = () => image.classList.toggle("sharp", image.naturalWidth <= 64);
    if (image.complete) look(); else image.addEventListener("load", look);
  }
  const cards = [...document.querySelectorAll("article.card")];
  if (!cards.length) return;
  const help = document.getElementById("help");
  let current = -1;

  function mark(index) {
    current = index;
    cards.forEach((card, each) => card.classList.toggle("current", each === current));
    tell(cards[current]).then(() => tell(cards[current + 1]));
  }

  async function tell(card) { // what else it would change in the day's requests: asked once, when somebody looks
    if (!card?.querySelector(".beside") || card.dataset.told) return;
    card.dataset.told = "yes";
    const [image, expected] = ["image", "expected"].map((name) => card.querySelector(`[name=${name}]`).value);
    try {
      const answer = await fetch(`/effect/${image}?expected=${encodeURIComponent(expected)}`, {headers: {Accept: "application/json"}});
      const said = answer.ok && (await answer.json()).said;
      if (said) card.querySelector(".beside").prepend(`${said}. `);
    } catch (fault) { /* the sentence that is there holds */ }
  }

  function go(to) {
    mark(Math.max(0, Math.min(cards.length - 1, to)));
    cards[current].focus({preventScroll: true});
    cards[current].scrollIntoView({block: "nearest"});
  }

  function following() {
    const open = cards.findIndex((card, index) => index > current && !card.classList.contains("decided"));
    if (open >= 0) go(open);
  }

  async function send(card, action) {
    const form = card.querySelector("form.actions");
    const outcome = card.querySelector(".outcome");
    const fields = new URLSearchParams(new FormData(form));
    fields.set("action", action);
    card.classList.add("sending");
    card.classList.remove("failed");
    try {
      const answer = await fetch(form.getAttribute("action"), {method: "POST", body: fields, headers: {Accept: "application/json"}});
      const said = await answer.json();
      outcome.textContent = answer.ok ? said.said : said.detail;
      card.classList.toggle("decided", answer.ok);
      card.classList.toggle("failed", !answer.ok);
      if (answer.ok) following();
    } catch (fault) {
      outcome.textContent = "no answer came: nothing is known to be decided; load the page again";
      card.classList.add("failed");
    }
    card.classList.remove("sending");
  }

  cards.forEach((card, index) => {
    card.addEventListener("focusin", () => { if (current !== index) mark(index); });
    card.querySelector("form.actions").addEventListener("submit", (event) => {
      event.preventDefault();
      const typed = document.activeElement.closest(".one input");  // Enter in a field means the button beside it
      const button = typed ? typed.closest(".one").querySelector("button") : event.submitter;
      if (typed) typed.blur();
      if (button) send(card, button.value);
    });
  });

  document.addEventListener("keydown", (event) => {
    const field = event.target.closest("input:not([type=checkbox]), select, textarea");
    if (event.key === "Escape" && field) { go(current); return; }
    if (field || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "?") { help.open ? help.close() : help.showModal(); event.preventDefault(); return; }
    if (help.open) return;
    if (event.key === "j" || event.key === "ArrowDown") { go(current + 1); event.preventDefault(); return; }
    if (event.key === "k" || event.key === "ArrowUp") { go(current - 1); event.preventDefault(); return; }
    if (current < 0) return;
    const card = cards[current];
    if (event.key === "h") { const link = card.querySelector("a.history"); if (link) link.click(); return; }
    const button = [...card.querySelectorAll("button[data-key]")].find((each) => each.dataset.key === event.key);
    if (!button) return;
    event.preventDefault();
    const first = button.closest(".one").querySelector("select, input");
    if (first) first.focus(); else send(card, button.value);
  });

  go(0);
  window.scrollTo(0, 0);
})();
