// Starts a server with several models: its own, one that takes its time to load, one that is quick, one that fails.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { server, showConversations } from './harness.mjs';

/** Two of them do not fit into the memory together. */
const MEMORY = 100_000_000;
const EACH = 60_000_000;

/** A server; its models besides `scripted` are `patient`, `quick` and `broken`. */
export async function many() {
  const folder = mkdtempSync(join(tmpdir(), 'myriad-models-'));
  const model = (name, text, load) => {
    const file = join(folder, `${name}.json`);
    const script = { answers: [{ when: 'a short title', text: '' }, { text }] };
    writeFileSync(file, JSON.stringify({ ...script, load: { bytes: EACH, ...load } }));
    return ['--models', `script:${file}`];
  };
  const served = await server(
    ...['--models-memory', `${MEMORY}`],
    ...model('patient', 'I took my time.', { ms: 4000 }),
    ...model('quick', 'I was quick.', { ms: 100 }),
    ...model('broken', '', { fails: 'its file is cut off' }),
  );
  const stop = async () => {
    await served.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  return { ...served, stop };
}

/** Opens the console at a tab. */
export async function look(page, tab) {
  await showConversations(page);
  await page.getByRole('button', { name: 'Console', exact: true }).click();
  await page.getByRole('tab', { name: tab, exact: true }).click();
}
