// A server of tools that speaks MCP as a test wants it, and the file that tells the chat's server of it.
import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const SCHEMA = {
  type: 'object',
  properties: { city: { type: 'string' }, days: { type: 'integer' } },
  required: ['city'],
};

/** The tools that it has where a test names no others. */
export const TOOLS = [
  {
    name: 'forecast',
    title: 'Forecast',
    description: 'How the weather will be in a city.',
    inputSchema: SCHEMA,
  },
  { name: 'alerts', description: 'Warnings for a region.', inputSchema: SCHEMA },
  { name: 'radar', description: 'A picture.', inputSchema: { type: 'colour' } },
];

/** Serves `tools`, each of whose calls is answered with `content` after a while. */
export async function toolServer({ tools = TOOLS, content, wait = 0 } = {}) {
  const calls = [];
  const results = {
    'server/discover': () => ({ supportedVersions: ['2026-07-28'], capabilities: { tools: {} } }),
    'tools/list': () => ({ tools }),
    'tools/call': (params) => {
      calls.push(params);
      const text = `Sunny in ${params.arguments.city}, 21 °C.`;
      return { content: content ?? [{ type: 'text', text }] };
    },
  };
  const served = createServer((request, response) => {
    let body = '';
    request.on('data', (piece) => (body += piece));
    request.on('end', () => {
      const { id, method, params } = JSON.parse(body);
      const result = { resultType: 'complete', ...results[method](params) };
      const say = () => {
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ jsonrpc: '2.0', id, result }));
      };
      if (method === 'tools/call' && wait > 0) setTimeout(say, wait);
      else say();
    });
  });
  await new Promise((ready) => served.listen(0, '127.0.0.1', ready));
  const file = join(mkdtempSync(join(tmpdir(), 'myriad-tools-')), 'tools.toml');
  // The harness takes the first address of digits that a server tells for its own.
  const address = `http://localhost:${served.address().port}/mcp`;
  writeFileSync(
    file,
    `[[server]]\nname = "weather"\naddress = "${address}"\n[search]\naddress = "${address}"\n`,
  );
  return { file, calls, stop: () => served.close() };
}

/** Switches a tool on in the shown conversation. */
export async function switchOn(page, name) {
  await page.getByRole('button', { name: /^Tools:/ }).click();
  await page.getByRole('checkbox', { name }).check();
  await page.keyboard.press('Escape');
}
