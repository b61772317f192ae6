// Building the page out of elements and text. There is no other way in: markup is never parsed.

const SVG = "http://www.w3.org/2000/svg";

/** An element: its classes, attributes, and children (elements, or text that becomes text). */
export function el(name, options = {}, ...children) {
  return fill(document.createElement(name), options, children);
}

/** The same for SVG. */
export function svg(name, options = {}, ...children) {
  return fill(document.createElementNS(SVG, name), options, children);
}

function fill(element, { class: classes, ...attributes }, children) {
  if (classes) element.setAttribute("class", classes);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  put(element, children);
  return element;
}

/** Replaces what is inside of an element. */
export function put(element, children) {
  const there = children.flat().filter((child) => child !== null && child !== undefined && child !== "");
  element.replaceChildren(...there);
}

/** Sets a text, but only where it differs: what does not change is not laid out again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The element with an id. */
export function at(id) {
  return document.getElementById(id);
}

/** Draws a moment after it is called for, so that many calls become one; the slower drawing is, the
 * rarer, so that the page has time for its user. */
export function soon(draw, pause) {
  let waiting = false;
  let again = false;
  let took = 0;
  const begin = () => {
    waiting = true;
    again = false;
    setTimeout(() => requestAnimationFrame(() => {
      const start = performance.now();
      draw();
      // After the frame: its layout and painting count too.
      setTimeout(() => {
        took = performance.now() - start;
        waiting = false;
        if (again) begin();
      });
    }), Math.min(2_000, Math.max(pause, 3 * took)));
  };
  return () => {
    if (waiting) again = true;
    else begin();
  };
}
