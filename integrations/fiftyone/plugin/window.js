// What only the browser's side of a plugin can do: show sidebar groups without a reload of the page, and keys for the
// panel's buttons. FiftyOne loads this file because fiftyone.yml names it.
(() => {
  const PLUGIN = "@influence-audit/influence-audit";
  const { Operator, OperatorConfig, registerOperator } = window.__foo__; // @fiftyone/operators
  const { sidebarGroupsDefinition } = window.__fos__; // @fiftyone/state

  // An open window keeps the groups that it began with, whatever the dataset says since.
  class ShowSidebarGroups extends Operator {
    get config() {
      return new OperatorConfig({ name: "show_sidebar_groups", label: "Show sidebar groups", unlisted: true });
    }
    async execute({ state, params }) {
      state.set(sidebarGroupsDefinition(false), params.groups);
    }
  }
  registerOperator(ShowSidebarGroups, PLUGIN);

  const BUTTONS = {
    KeyA: "Accept suggestion",
    KeyC: "Confirm mistake",
    KeyD: "Dismiss",
    KeyU: "Undo last",
    KeyN: "Next",
  };
  const TYPING = "input:not([type=radio]):not([type=checkbox]):not([type=range]), textarea, [contenteditable=true]";

  document.addEventListener(
    "keydown",
    (event) => {
      const label = BUTTONS[event.code];
      const withOthers = event.ctrlKey || event.altKey || event.metaKey || event.repeat;
      if (!label || !event.shiftKey || withOthers || event.target.closest?.(TYPING)) return;
      if (document.querySelector("[data-cy=operators-prompt-modal]")) return;
      // Behind an open sample, the grid's panel may still show another one: only the panel in front is asked.
      const front = document.querySelector("[data-cy=modal]") ?? document;
      const buttons = front.querySelectorAll("[data-cy='panel-content-label_audit'] button");
      const button = [...buttons].find((one) => one.innerText.includes(label) && one.offsetParent !== null);
      if (!button || button.disabled) return;
      event.preventDefault();
      event.stopPropagation();
      button.click();
    },
    true
  );
})();
