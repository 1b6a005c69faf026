// Sets the theme before the first paint, so that nothing flashes: the chosen one, or the system's. A file of
// its own, because the content security policy allows no script inside the page.
(() => {
  let chosen;
  try {
    chosen = JSON.parse(localStorage.getItem('myriad.preferences') ?? '{}').theme;
  } catch {
    // Storage is closed or holds something else: the system's theme it is.
  }
  const dark =
    chosen === 'dark' || (chosen !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
})();
