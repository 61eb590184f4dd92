// What stands at the steps, as text, coloured by a number a step.

import {colour, css, onTheme, onTop} from "./colours.js";
import {element, visible} from "./dom.js";

export class Words {
  constructor(name, onstep) {
    this.node = element("div", {className: "words", tabindex: "0", role: "region", "aria-label": name});
    this.node.addEventListener("click", event => {
      const step = event.target.dataset?.step;
      if (step !== undefined) onstep(Number(step));
    });
    this.shares = null;
    onTheme(() => { if (this.shares) this.paint(this.shares, this.signed); });
  }

  set(labels, joined) {
    const apart = joined !== "";
    this.node.classList.toggle("apart", apart);
    this.spans = labels.map((label, step) => element("span", {"data-step": String(step)},
      apart ? visible(label) : label === "\n" ? "↵\n" : label || "∅"));
    this.node.replaceChildren(...this.spans.flatMap((span, step) => step && apart ? [" ", span] : [span]));
  }

  paint(shares, signed, here = null) { // a share from 0 to 1 a step
    Object.assign(this, {shares, signed});
    this.spans.forEach((span, step) => {
      const rgb = colour(shares[step] ?? (signed ? 0.5 : 0), signed);
      span.style.backgroundColor = css(rgb);
      span.style.color = onTop(rgb);
      span.classList.toggle("here", step === here);
    });
  }
}
