(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("influence-audit-theme"); } catch (error) { /* storage may be forbidden */ }
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.theme = chosen === "dark" || chosen === "light" ? chosen : system;
})();
