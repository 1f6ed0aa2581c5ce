// What only the browser's side of a plugin can do: show changed fields without a reload of the page, and keys for the
// panel's buttons. FiftyOne loads this file because fiftyone.yml names it.
(() => {
  const PLUGIN = "@influence-audit/influence-audit";
  const { executeOperator, Operator, OperatorConfig, registerOperator, usePanelEvent } = window.__foo__; // @fiftyone/operators
  const { sidebarGroupsDefinition, useRefresh, view } = window.__fos__; // @fiftyone/state
  const { useSpaceNodes } = window.__fosp__; // @fiftyone/spaces
  const GRID = "fiftyone-spaces"; // the panels beside the grid
  const PANELS = "[data-cy='panel-content-label_audit']";
  const MOST_MILLISECONDS = 5000;
  const TIMES_TOLD = 4;

  async function until(isSo) {
    for (const begun = Date.now(); !isSo() && Date.now() - begun < MOST_MILLISECONDS; ) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return isSo();
  }

  function panelsShow(text) {
    return [...document.querySelectorAll(PANELS)].every((panel) => panel.innerText.includes(text));
  }

  // A panel that is open hears of nothing that operators do, and opening it again leaves it as it is.
  class TellPanel extends Operator {
    get config() {
      return new OperatorConfig({ name: "tell_panel", label: "Tell the panel", unlisted: true });
    }
    useHooks() {
      return { tell: usePanelEvent(), panels: useSpaceNodes(GRID) };
    }
    async execute({ hooks, params: { method, ...params } }) {
      const event = { operator: `${PLUGIN}/label_audit#${method}`, params };
      hooks.panels.filter(({ type }) => type === "label_audit").forEach(({ id }) => hooks.tell(id, event));
    }
  }
  registerOperator(TellPanel, PLUGIN);

  // An open window keeps the fields and groups that it began with, whatever the dataset says since.
  class ShowChangedFields extends Operator {
    get config() {
      return new OperatorConfig({ name: "show_changed_fields", label: "Show changed fields", unlisted: true });
    }
    useHooks() {
      return { refresh: useRefresh() };
    }
    async execute({ hooks, state, params }) {
      if (params.leave_view) {
        // FiftyOne cannot show a saved view that is gone: the address must have forgotten it before it is asked for.
        state.reset(view);
        await until(() => !new URLSearchParams(location.search).has("view"));
      }
      hooks.refresh();
      state.set(sidebarGroupsDefinition(false), params.groups);
      // While it shows the dataset anew, the App may lose the panel's answer: it is asked again where nothing came of it.
      for (let times = 0; times < TIMES_TOLD; times++) {
        const { audit_key, leave_check } = params;
        await executeOperator(`${PLUGIN}/tell_panel`, { method: "changed", audit_key, leave_check });
        if (!params.audit_key || (await until(() => panelsShow(params.audit_key)))) break;
      }
    }
  }
  registerOperator(ShowChangedFields, PLUGIN);

  // The first of them that the panel shows: in a check of the audit it has other buttons than in the review.
  const BUTTONS = {
    KeyA: ["Accept suggestion"],
    KeyC: ["Confirm mistake"],
    KeyD: ["Dismiss"],
    KeyU: ["Cannot say", "Undo last"],
    KeyN: ["Next"],
    KeyR: ["Right"],
    KeyW: ["Wrong"],
    KeyZ: ["Take back"],
  };
  const TYPING = "input:not([type=radio]):not([type=checkbox]):not([type=range]), textarea, [contenteditable=true]";

  document.addEventListener(
    "keydown",
    (event) => {
      const labels = BUTTONS[event.code];
      const withOthers = event.ctrlKey || event.altKey || event.metaKey || event.repeat;
      if (!labels || !event.shiftKey || withOthers || event.target.closest?.(TYPING)) return;
      if (document.querySelector("[data-cy=operators-prompt-modal]")) return;
      // Behind an open sample, the grid's panel may still show another one: only the panel in front is asked.
      const front = document.querySelector("[data-cy=modal]") ?? document;
      const buttons = [...front.querySelectorAll(`${PANELS} button`)].filter((one) => one.offsetParent !== null);
      const button = labels.map((label) => buttons.find((one) => one.innerText.includes(label))).find(Boolean);
      if (!button || button.disabled) return;
      event.preventDefault();
      event.stopPropagation();
      button.click();
    },
    true
  );
})();
