// The page as a whole: theme, copied commands, folds that links open, and the start of each part.
function startTheme() {
  const button = document.getElementById("theme");
  const set = (value) => {
    document.documentElement.dataset.theme = value;
    button.textContent = value === "dark" ? words.light : words.dark;
    button.setAttribute("aria-label", value === "dark" ? words.to_light : words.to_dark);
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    const value = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    keep("influence-audit-theme", value);
    set(value);
  });
  set(document.documentElement.dataset.theme);
}

function startCopy() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const code = button.previousElementSibling;
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = words.copied;
      } catch (error) {
        getSelection().selectAllChildren(code);
        button.textContent = words.selected;
      }
      setTimeout(() => { button.textContent = words.copy; }, 1600);
    });
  }
}

// A report that lies where the audit wrote it knows the folder of its commands.
function nameFolder() {
  const [file] = location.pathname.split("/").slice(-1);
  if (location.protocol !== "file:" || file !== page.report_file) return;
  const folder = decodeURIComponent(new URL(".", location.href).pathname).replace(/(.)\/$/, "$1");
  const quoted = /^[\w@%+=:,./-]+$/.test(folder) ? folder : `'${folder.replaceAll("'", `'"'"'`)}'`;
  for (const code of document.querySelectorAll("code")) code.textContent = code.textContent.replaceAll(page.result_folder, quoted);
  document.querySelector("[data-folder-note]").hidden = true;
}

// A link to a place inside a closed fold opens it.
function unfold() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  let folded = false;
  for (let node = target; node; node = node.parentElement) {
    if (node.tagName === "DETAILS" && !node.open) { node.open = true; folded = true; }
  }
  if (folded) target.scrollIntoView();
}

function startFolds() {
  window.addEventListener("hashchange", unfold);
  // A link to the place where the page is already changes no address.
  document.addEventListener("click", (event) => { if (event.target.closest('a[href^="#"]')) setTimeout(unfold); });
  unfold();
}

startTheme();
startApp();
startDecisions();
startFlagged();
showCompared();
showConfused();
startThreshold();
startClasses();
startExplained();
showDecisions();
nameFolder();
startCopy();
startFolds();
