"use strict";
// Everything is visible without this. It adds: the page's language for screen readers and the address, and labels that
// appear beside a box at once, also under a finger.
const chooseLanguage = (language) => {
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
};
for (const button of document.querySelectorAll("input[name=language]")) {
  const language = button.id.slice(5);
  button.addEventListener("change", () => {
    chooseLanguage(language);
    history.replaceState(null, "", "#" + language);
  });
  if (location.hash === "#" + language) {
    button.checked = true;
    chooseLanguage(language);
  }
}
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);
for (const group of document.querySelectorAll("svg g")) {
  const title = group.querySelector("title");
  if (!title) continue;
  const text = title.textContent;
  title.remove();
  group.setAttribute("aria-label", text);
  group.addEventListener("pointermove", (event) => {
    tip.textContent = text;
    tip.hidden = false;
    const left = Math.min(event.clientX + 12, document.documentElement.clientWidth - tip.offsetWidth - 4);
    tip.style.left = Math.max(4, left) + "px";
    tip.style.top = Math.max(4, event.clientY - tip.offsetHeight - 10) + "px";
  });
  group.addEventListener("pointerleave", () => {
    tip.hidden = true;
  });
}
