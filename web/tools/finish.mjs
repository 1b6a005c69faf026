// Turns dist/ into what the binary embeds: beside each text file its gzip, with a check of the budget.
//
// Called with --empty before the build (the folder itself stays: cargo watches it), without after it.
import { readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

/** Bytes of script and style, gzipped, that may come before the first paint. */
const FIRST_PAINT_MAX = 150_000;

const dist = new URL('../dist', import.meta.url).pathname;

if (process.argv.includes('--empty')) {
  for (const name of readdirSync(dist)) {
    if (name !== '.gitignore') rmSync(join(dist, name), { recursive: true });
  }
} else {
  finish();
}

function finish() {
  writeWorker();
  const sizes = new Map();
  for (const path of files(dist)) {
    if (!/\.(html|js|css|svg|json|webmanifest)$/.test(path)) continue;
    const packed = gzipSync(readFileSync(path), { level: 9 });
    writeFileSync(`${path}.gz`, packed);
    sizes.set(path.slice(dist.length), packed.length);
  }
  const html = readFileSync(join(dist, 'index.html'), 'utf8');
  const first = [...html.matchAll(/(?:src|href)="(\/[^"]+\.(?:js|css))"/g)].map(
    (match) => match[1],
  );
  const bytes = first.reduce((sum, path) => sum + (sizes.get(path) ?? 0), 0);
  console.log(
    `before the first paint: ${bytes} of ${FIRST_PAINT_MAX} bytes (gzip) in ${first.length} files`,
  );
  if (bytes > FIRST_PAINT_MAX) {
    console.error('That is over the budget: load more of it lazily.');
    process.exit(1);
  }
}

/** Tells the service worker its version, and which files make the page without its lazy parts. */
function writeWorker() {
  const html = readFileSync(join(dist, 'index.html'), 'utf8');
  const shell = [...html.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map((match) => match[1]);
  const paths = ['/', ...new Set(shell)];
  const digest = createHash('sha256');
  for (const path of paths)
    digest.update(readFileSync(join(dist, path === '/' ? 'index.html' : path)));
  const worker = join(dist, 'sw.js');
  const text = readFileSync(worker, 'utf8')
    .replace('__VERSION__', digest.digest('hex').slice(0, 16))
    .replace("['__FILES__']", JSON.stringify(paths));
  writeFileSync(worker, text);
}

function files(folder) {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? files(path) : [path];
  });
}
