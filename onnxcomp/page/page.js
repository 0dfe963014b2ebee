"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const words = { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };
  const next = { auto: "light", light: "dark", dark: "auto" };
  let theme = "auto";
  const set = (chosen) => {
    theme = chosen;
    if (theme === "auto") root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", theme);
    button.textContent = words[theme];
  };
  const kept = () => { try { return localStorage.getItem("onnxcomp-theme"); } catch { return null; } };
  const keep = () => { try { localStorage.setItem("onnxcomp-theme", theme); } catch { /* a file may not */ } };
  set(words[kept()] ? kept() : "auto");
  button.hidden = false;
  button.addEventListener("click", () => { set(next[theme]); keep(); });

  // On paper everything is open but the long tables of layers, which the style leaves out.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));
})();
