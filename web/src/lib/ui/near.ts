// Tells elements that have come near the window, or gone far from it; one observer watches them all.

/** So far beyond the window is near: what is scrolled to is there already. */
const NEAR = '1200px';

type Act = (near: boolean, height: number) => void;
const acts = new WeakMap<Element, Act>();
let observer: IntersectionObserver | null = null;

/** Calls back now and at each change with whether the element is near, and how high it is. */
export function watchNear(element: Element, act: Act): () => void {
  observer ??= new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting, boundingClientRect } of entries)
        acts.get(target)?.(isIntersecting, boundingClientRect.height);
    },
    // The chat scrolls inside of the page: there the margin has another name.
    { rootMargin: NEAR, scrollMargin: NEAR } as IntersectionObserverInit,
  );
  acts.set(element, act);
  observer.observe(element);
  return () => observer?.unobserve(element);
}
