// Starts two servers, of which the first offers the other's model beside its own.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { server } from './harness.mjs';

/** The first server; `name` is what it calls the other one. */
export async function pair(name) {
  const far = await server('--no-store');
  const folder = mkdtempSync(join(tmpdir(), 'myriad-upstreams-'));
  const file = join(folder, 'upstreams.toml');
  // The harness takes the first address of digits that a server tells for its own.
  const address = far.url.replace('127.0.0.1', 'localhost');
  const entry = `name = "${name}"\nkind = "openai"\nurl = "${address}/v1"\nmodels = ["scripted"]`;
  writeFileSync(file, `[[upstream]]\n${entry}\n`);
  const near = await server('--upstreams', file);
  const stop = async () => {
    await near.stop();
    await far.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  return { ...near, stop };
}
