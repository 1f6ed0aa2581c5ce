// The App, which may be served at another port than the usual.
const appAddress = document.getElementById("app-address");
const inApp = (sample) => `${new URL(appAddress.value).origin}${page.app}?id=${encodeURIComponent(sample.id)}`;

function appLink(sample) {
  if (page.app === null) return null;
  const link = element("a", { class: "in-app", href: inApp(sample), target: "_blank", rel: "noopener noreferrer" }, [words.open_in_app]);
  link.setAttribute("aria-label", say("open_sample_in_app", { id: sample.id }));
  link.dataset.app = sample.id;
  return link;
}

function startApp() {
  if (appAddress === null) return;
  const usual = appAddress.value;
  const valid = () => appAddress.validity.valid && /^https?:/i.test(appAddress.value);
  appAddress.value = kept("influence-audit-app") ?? usual;
  if (!valid()) appAddress.value = usual;
  appAddress.addEventListener("input", () => {
    if (!valid()) return;
    keep("influence-audit-app", appAddress.value);
    for (const link of document.querySelectorAll("[data-app]")) link.href = inApp({ id: link.dataset.app });
  });
  appAddress.addEventListener("change", () => { if (!valid()) appAddress.value = usual; });
  appAddress.form.addEventListener("submit", (event) => event.preventDefault());
  appAddress.form.hidden = false;
}
