// What only the browser's side of a plugin can do: show changed fields without a reload of the page, draw the review,
// and take keys. FiftyOne loads this file because fiftyone.yml names it.
(() => {
  const PLUGIN = "@influence-audit/influence-audit";
  // @fiftyone/operators
  const { executeOperator, Operator, OperatorConfig, registerOperator, usePanelEvent } = window.__foo__;
  const { sidebarGroupsDefinition, useRefresh, view, viewName } = window.__fos__; // @fiftyone/state
  const { useSpaceNodes } = window.__fosp__; // @fiftyone/spaces
  const { PluginComponentType, registerComponent } = window.__fop__; // @fiftyone/plugins
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
      review.then(({ queue }) => queue.refresh());
      state.set(sidebarGroupsDefinition(false), params.groups);
      // While it shows the dataset anew, the App may lose the panel's answer: it is asked again if nothing came of it.
      for (let times = 0; times < TIMES_TOLD; times++) {
        const { audit_key, leave_check } = params;
        await executeOperator(`${PLUGIN}/tell_panel`, { method: "changed", audit_key, leave_check });
        if (!params.audit_key || (await until(() => panelsShow(params.audit_key)))) break;
      }
    }
  }
  registerOperator(ShowChangedFields, PLUGIN);

  // The App's own operator shows only views that were saved before the page was loaded.
  class ShowNamedView extends Operator {
    get config() {
      return new OperatorConfig({ name: "show_named_view", label: "Show a named view", unlisted: true });
    }
    async execute({ state, params: { slug } }) {
      state.set(viewName, slug);
    }
  }
  registerOperator(ShowNamedView, PLUGIN);

  // Decisions were made elsewhere, by an operator for example: the review looks at them.
  class LookAgain extends Operator {
    get config() {
      return new OperatorConfig({ name: "look_again", label: "Look again", unlisted: true });
    }
    async execute() {
      (await review).queue.refresh();
    }
  }
  registerOperator(LookAgain, PLUGIN);

  // The review is drawn here, in the browser: a person who decides once a second cannot wait for the server.
  const place = new URL("review/", document.currentScript.src);
  const review = Promise.all(
    ["panel", "keys", "queue", "outline"].map((name) => import(new URL(`${name}.js`, place)))
  ).then(([{ ReviewPanel }, { reviewKey }, { queue }, outline]) => ({ ReviewPanel, reviewKey, queue, outline }));
  let loaded = null;
  review.then((parts) => (loaded = parts));

  // FiftyOne draws its grid without saying in the page which picture is which sample. What draws a picture knows it: it
  // is noted when that is put into its place, from the first picture on.
  const drawing = window.__fol__?.AbstractLooker?.prototype; // @fiftyone/looker
  const drawn = new WeakMap(); // samples, by place in the grid
  if (drawing?.attach) {
    const attach = drawing.attach;
    drawing.attach = function (place, ...more) {
      const result = attach.call(this, place, ...more);
      const sample = this.state?.config?.sampleId;
      if (sample && place instanceof HTMLElement) {
        drawn.set(place, sample);
        loaded?.outline.mark(place);
      }
      return result;
    };
  }
  review.then(({ outline }) => outline.follow(drawn));

  const { createElement, lazy, Suspense } = window.React;
  const Loaded = lazy(() => review.then(({ ReviewPanel }) => ({ default: ReviewPanel })));
  registerComponent({
    name: "LabelAuditReview",
    label: "Label audit: review",
    component: (props) => createElement(Suspense, { fallback: null }, createElement(Loaded, props)),
    type: PluginComponentType.Component,
    activator: () => true,
  });

  registerComponent({
    name: "LabelAuditStop",
    label: "Label audit: stop",
    component: ({ schema }) => {
      const stop = () => executeOperator(`${PLUGIN}/stop_audit`, { audit_key: schema.view.audit_key });
      // As the review's buttons, which are not loaded here: orange text on white cannot be read.
      const sx = { textTransform: "none", color: "text.primary", borderColor: "#8889" };
      const look = { variant: "outlined", size: "small", sx, onClick: stop };
      return createElement(window.__mui__.Button, look, "Stop the audit");
    },
    type: PluginComponentType.Component,
    activator: () => true,
  });

  // The buttons of the check.
  const BUTTONS = { KeyR: "Right", KeyW: "Wrong", KeyU: "Cannot say", KeyZ: "Take back" };
  const TYPING = "input:not([type=radio]):not([type=checkbox]):not([type=range]), textarea, [contenteditable=true]";
  let pressedOn = null; // the picture that the last key decided on: a second key waits for the next one

  function pressButton(code, front) {
    const buttons = [...front.querySelectorAll(`${PANELS} button`)].filter((one) => one.offsetParent !== null);
    const button = buttons.find((one) => one.innerText.includes(BUTTONS[code]));
    if (!button || button.disabled) return Boolean(button);
    const picture = front.querySelector(`${PANELS} img`);
    const shown = picture?.complete && picture.naturalWidth ? picture.src : null;
    const isFormer = (!shown || shown === pressedOn?.source) && Date.now() - pressedOn?.at < MOST_MILLISECONDS;
    if (isFormer && code !== "KeyZ") {
      executeOperator("notify", { message: "That key came before the picture: it was ignored.", variant: "info" });
      return true;
    }
    pressedOn = code === "KeyZ" ? null : { source: shown, at: Date.now() };
    button.click();
    return true;
  }

  document.addEventListener(
    "keydown",
    (event) => {
      const withOthers = event.ctrlKey || event.altKey || event.metaKey || event.repeat;
      const isDigit = /^Digit[123]$/.test(event.code);
      if (withOthers || !(event.shiftKey || isDigit) || event.target.closest?.(TYPING)) return;
      if (document.querySelector("[data-cy=operators-prompt-modal]")) return;
      // Behind an open sample, the grid's panel may still show another one: only the panel in front is asked.
      const front = document.querySelector("[data-cy=modal]") ?? document;
      const isReview = [...document.querySelectorAll("[data-cy=review]")].some((one) => one.offsetParent !== null);
      const isOfCheck = BUTTONS[event.code] && pressButton(event.code, front);
      if (!isOfCheck && !(isReview && loaded?.reviewKey(event.code))) return;
      event.preventDefault();
      event.stopPropagation();
    },
    true
  );
})();
