// Values by step (across) and unit (down) as colours.

import {Canvas} from "./canvas.js";
import {table, variable} from "./colours.js";

const MOST = 420, LEAST = 60; // height in pixels

export class HeatMap {
  constructor(onpick) {
    this.values = null;
    this.order = [];
    this.cursor = {step: 0, rank: 0};
    this.canvas = new Canvas("", LEAST, (context, width, height) => this.paint(context, width, height), "heat");
    this.canvas.node.addEventListener("pointerdown", event => this.point(event, onpick));
    this.canvas.node.addEventListener("pointermove", event => { if (event.buttons) this.point(event, onpick); });
  }

  get node() { return this.canvas.node; }

  point(event, onpick) {
    if (!this.values) return;
    const box = this.node.getBoundingClientRect();
    const place = (at, size, count) => Math.min(Math.max(Math.floor(at / size * count), 0), count - 1);
    onpick(place(event.clientX - box.left, box.width, this.values.steps),
      place(event.clientY - box.top, box.height, this.order.length));
  }

  show(values, order, cursor, label) {
    const changed = values !== this.values || order !== this.order;
    Object.assign(this, {values, order, cursor});
    if (changed) this.image = null;
    this.canvas.label = label;
    this.canvas.height = Math.min(Math.max(order.length * 14, LEAST), MOST);
    this.canvas.redraw();
  }

  pixels() { // one a value
    const {values, order} = this;
    const colours = table(values.signed);
    const image = new ImageData(Math.max(values.steps, 1), Math.max(order.length, 1));
    order.forEach((unit, rank) => {
      for (let step = 0; step < values.steps; step++) {
        const [r, g, b] = colours[Math.round(255 * values.share(step, unit))];
        const place = 4 * (rank * values.steps + step);
        image.data[place] = r; image.data[place + 1] = g; image.data[place + 2] = b; image.data[place + 3] = 255;
      }
    });
    const small = document.createElement("canvas");
    [small.width, small.height] = [image.width, image.height];
    small.getContext("2d").putImageData(image, 0, 0);
    return small;
  }

  paint(context, width, height) {
    if (!this.values) return;
    const paper = variable("--paper");
    if (!this.image || this.paper !== paper) [this.image, this.paper] = [this.pixels(), paper];
    context.imageSmoothingEnabled = this.values.steps > width || this.order.length > height;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.image, 0, 0, width, height);
    const across = width / this.values.steps, down = height / this.order.length;
    const {step, rank} = this.cursor;
    for (const [stroke, size] of [[paper, 3], [variable("--ink"), 1.5]]) {
      context.strokeStyle = stroke;
      context.lineWidth = size;
      context.strokeRect(step * across, 0, Math.max(across, 2), height);
      context.strokeRect(0, rank * down, width, Math.max(down, 2));
    }
  }
}
