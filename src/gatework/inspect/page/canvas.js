// A canvas that is as wide as its place, sharp on every screen, and drawn again when either changes.

import {onTheme} from "./colours.js";

export class Canvas {
  constructor(label, height, draw, className = "") {
    this.node = document.createElement("canvas");
    this.node.setAttribute("role", "img");
    if (className) this.node.className = className;
    this.height = height;
    this.draw = draw;
    this.label = label;
    new ResizeObserver(() => this.redraw()).observe(this.node);
    onTheme(() => this.redraw());
  }

  set label(text) { this.node.setAttribute("aria-label", text); }

  redraw() {
    const width = this.node.clientWidth;
    if (!width) return; // not in the page yet
    const scale = window.devicePixelRatio || 1;
    this.node.style.height = `${this.height}px`;
    this.node.width = Math.round(width * scale);
    this.node.height = Math.round(this.height * scale);
    const context = this.node.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    this.draw(context, width, this.height);
  }
}
