// Tells elements that have come near the window, or gone far from it; one observer watches all that scroll together.

/** So far beyond the window is near: what is scrolled to is there already. */
const NEAR = '1200px';

type Act = (near: boolean, height: number) => void;
const acts = new WeakMap<Element, Act>();
const observers = new WeakMap<Element, IntersectionObserver>();

/** Calls back now and at each change with whether the element is near, and how high it is. */
export function watchNear(element: Element, act: Act): () => void {
  const observer = observerOf(element);
  acts.set(element, act);
  observer.observe(element);
  return () => observer.unobserve(element);
}

/** The observer of what scrolls the element: a margin around the window itself would end at its edge. */
function observerOf(element: Element): IntersectionObserver {
  const scroller = element.closest('[role=log], main') ?? document.body;
  const known = observers.get(scroller);
  if (known) return known;
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting, boundingClientRect } of entries)
        acts.get(target)?.(isIntersecting, boundingClientRect.height);
    },
    { root: scroller, rootMargin: NEAR },
  );
  observers.set(scroller, observer);
  return observer;
}
