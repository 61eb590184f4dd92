// Colours of values, which people with any kind of colour vision can tell apart, on light and dark paper.

const dark = matchMedia("(prefers-color-scheme: dark)");

// Stops from the lowest value to the highest.
const RAMPS = {
  light: {
    rising: [[255, 255, 255], [190, 215, 240], [70, 140, 205], [8, 48, 107]],
    signed: [[179, 71, 0], [244, 182, 128], [247, 247, 247], [146, 197, 232], [11, 92, 173]],
  },
  dark: {
    rising: [[20, 23, 26], [30, 70, 120], [80, 150, 220], [225, 240, 255]],
    signed: [[255, 163, 107], [140, 75, 30], [28, 32, 36], [25, 80, 140], [125, 184, 245]],
  },
};

export function colour(share, signed) { // [r, g, b] of a share from 0 to 1
  const stops = RAMPS[dark.matches ? "dark" : "light"][signed ? "signed" : "rising"];
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const below = Math.min(Math.floor(place), stops.length - 2), part = place - below;
  return stops[below].map((value, index) => Math.round(value + part * (stops[below + 1][index] - value)));
}

export function table(signed) { // 256 colours
  return Array.from({length: 256}, (_, index) => colour(index / 255, signed));
}

export function css(rgb) { return `rgb(${rgb.join(" ")})`; }

export function onTop(rgb) { // black or white, whichever reads better there
  const [r, g, b] = rgb.map(value => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return (light + 0.05) / 0.05 > 1.05 / (light + 0.05) ? "#000" : "#fff";
}

export function ramp(signed) {
  return `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map(share => css(colour(share, signed))).join(", ")})`;
}

export function variable(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

export const PICKED = ["--first", "--second", "--third", "--fourth"];

export function onTheme(redraw) { dark.addEventListener("change", redraw); }
