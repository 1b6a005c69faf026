// Serves web/dist as the binary would, with the policies of routes/web.rs, and hands all else to a server: so the
// page of the sources is tried without building the binary anew.
import { readFileSync, statSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const DIST = fileURLToPath(new URL('../../dist/', import.meta.url));
const SOURCE = fileURLToPath(new URL('../../../crates/server/src/routes/web.rs', import.meta.url));
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.webmanifest': 'application/manifest+json',
};

/** A policy as the server's source has it. */
function policy(name) {
  const text = new RegExp(`const ${name}: &str = "([^"]*)"`).exec(readFileSync(SOURCE, 'utf8'))[1];
  return text.replace(/\\\n\s*/g, '');
}

function fileOf(path) {
  const file = join(DIST, path === '/' ? 'index.html' : path);
  if (!file.startsWith(DIST)) return null;
  return statSync(file, { throwIfNoEntry: false })?.isFile() ? file : null;
}

/** A server in front of the one at this address. */
export async function front(target) {
  const [page, frame] = [policy('POLICY'), policy('FRAME_POLICY')];
  /** What is served in place of files, by path: another build. */
  const replaced = new Map();
  const server = createServer((asked, answer) => {
    const { pathname } = new URL(asked.url, target);
    const file = asked.method === 'GET' ? fileOf(pathname) : null;
    if (file) {
      answer.writeHead(200, {
        'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
        'cache-control': pathname.startsWith('/assets/')
          ? 'max-age=31536000, immutable'
          : 'no-cache',
        'content-security-policy': pathname === '/frame.html' ? frame : page,
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
      });
      answer.end(replaced.get(pathname) ?? readFileSync(file));
      return;
    }
    const headers = { ...asked.headers, host: new URL(target).host };
    if (headers.origin) headers.origin = target;
    const passed = request(new URL(asked.url, target), { method: asked.method, headers }, (got) => {
      answer.writeHead(got.statusCode, got.headers);
      got.pipe(answer);
      // A server that is killed breaks off here too: a pipe alone would leave the page waiting.
      got.on('close', () => got.complete || answer.destroy());
    });
    passed.on('error', () => answer.destroy());
    answer.on('close', () => passed.destroy());
    asked.pipe(passed);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = () =>
    new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    });
  return { url: `http://127.0.0.1:${server.address().port}`, replaced, stop };
}
