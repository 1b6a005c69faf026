// Keeps the chat's own files, so that it opens without its server; never a page older than the server's.
//
// The page itself is asked of the server first, and what is kept is shown only where no answer comes. Files under
// /assets/ have their digest in their names and never change: those are taken from here. The build writes its version
// and its list of files into this one, so that each build is a new worker, which throws the earlier files away.
const VERSION = '__VERSION__';
const FILES = ['__FILES__'];
const CACHE = `myriad-${VERSION}`;

/** The server shows its page to those that ask for one. */
const asked = (path) =>
  new Request(path, { cache: 'no-cache', headers: { accept: 'text/html, */*' } });

addEventListener('install', (event) => {
  event.waitUntil(
    caches
      .open(CACHE)
      .then((cache) => cache.addAll(FILES.map(asked)))
      .then(() => skipWaiting()),
  );
});

addEventListener('activate', (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) =>
        Promise.all(
          names
            .filter((name) => name.startsWith('myriad-') && name !== CACHE)
            .map((name) => caches.delete(name)),
        ),
      )
      .then(() => clients.claim()),
  );
});

addEventListener('fetch', (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== 'GET' || url.origin !== location.origin) return;
  if (request.mode === 'navigate') {
    if (url.pathname === '/' && request.destination === 'document')
      event.respondWith(fresh(request, '/'));
  } else if (url.pathname.startsWith('/assets/')) event.respondWith(hashed(request));
  else if (FILES.includes(url.pathname)) event.respondWith(fresh(request, url.pathname));
});

/** The server's file, or the kept one where there is no server. */
async function fresh(request, path) {
  try {
    return await fetch(request);
  } catch (error) {
    const kept = await caches.match(path, { ignoreVary: true });
    if (kept) return kept;
    throw error;
  }
}

async function hashed(request) {
  const kept = await caches.match(request, { ignoreVary: true });
  if (kept) return kept;
  const answer = await fetch(request);
  if (answer.ok) {
    const copy = answer.clone();
    void caches.open(CACHE).then((cache) => cache.put(request, copy));
  }
  return answer;
}
