// The review's button: small, with text and border that can be read on dark and on light.

const { createElement: h } = window.React;
const { Button } = window.__mui__;
const PLAIN = { color: "text.primary", borderColor: "#8889" };

export function SmallButton({ variant = "outlined", sx, ...props }) {
  const look = { textTransform: "none", ...(variant === "contained" ? {} : PLAIN), ...sx };
  return h(Button, { size: "small", variant, sx: look, ...props });
}
