// Turns LaTeX into MathML, with Temml loaded when the first formula comes. The browser draws MathML itself.

type Temml = typeof import('temml').default;
let loaded: Promise<Temml> | null = null;

/** Longer formulas stay text. */
const FORMULA_MAX = 10_000;

/** Fills the element; false where it is no formula that Temml knows. */
export async function drawMath(
  element: HTMLElement,
  latex: string,
  display: boolean,
): Promise<boolean> {
  if (latex.length > FORMULA_MAX) return false;
  loaded ??= import('temml').then((module) => module.default);
  const temml = await loaded;
  const stage = document.createElement('span');
  try {
    // Not trusted: no links, no styles, no attributes of the formula's own.
    temml.render(latex, stage, {
      displayMode: display,
      trust: false,
      throwOnError: true,
      maxExpand: 200,
    });
  } catch {
    return false;
  }
  element.replaceChildren(...stage.childNodes);
  return true;
}
