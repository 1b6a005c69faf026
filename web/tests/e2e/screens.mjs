// Brings each screen of the chat about: they are photographed (tools/screenshots.mjs) and looked at (screens.test.mjs).
import { book, note } from './files.mjs';
import { answered, replies, say, server, showConversations } from './harness.mjs';
import { look, many } from './many.mjs';
import { pair } from './pair.mjs';
import { switchOn, toolServer } from './toolserver.mjs';

/** Each screen, from a fresh start. */
const alone = {
  start: async () => {},
  chat: async (page) => {
    await history(page);
    await say(page, 'Plan a quiet weekend in the mountains');
    await page.getByRole('log').evaluate((log) => log.scrollTo(0, 0));
  },
  code: async (page) => {
    await say(page, 'Write a Python function that merges two sorted lists');
    await page.locator('math').first().waitFor();
    await page.locator('.hljs-keyword').first().waitFor();
    await page.getByRole('log').evaluate((log) => log.scrollTo(0, 0));
  },
  streaming: async (page) => {
    await say(page, 'Stop me', { wait: false });
    await page.getByText('One two three').waitFor();
  },
  failure: async (page) => {
    const pieces = [
      { choices: [{ delta: { content: 'It begins well, and then' } }] },
      { error: { message: 'The server had an error while it processed your request.' } },
    ];
    const body = pieces.map((piece) => `data: ${JSON.stringify(piece)}\n\n`).join('');
    await page.route('**/v1/chat/completions', (route) => route.fulfill({ body }));
    await say(page, 'Explain how a transformer predicts the next word');
  },
  branches: async (page) => {
    await say(page, 'Think about it');
    await page.getByRole('button', { name: 'Answer again' }).click();
    await page.getByText('2/2').waitFor();
    await answered(page);
    await page.getByRole('button', { name: /^Thought/ }).click();
  },
  tokens: async (page) => {
    await say(page, 'Hello');
    await page.getByRole('button', { name: 'Token probabilities' }).click();
    await page.locator('.tokens button').nth(1).click();
  },
  parameters: async (page) => {
    await page.getByRole('button', { name: 'Parameters' }).click();
  },
  search: async (page) => {
    await history(page);
    await page.keyboard.press('Control+k');
    await page.getByRole('combobox').fill('weekend');
    await page.getByRole('option').first().waitFor();
  },
  settings: async (page) => {
    await showConversations(page);
    await page.getByRole('button', { name: 'Settings' }).click();
  },
  sidebar: async (page) => {
    await history(page);
    await showConversations(page);
    await page
      .getByRole('button', { name: /^Options for/ })
      .first()
      .click();
  },
  artifact: async (page) => {
    await replies(
      page,
      'Each question goes this way:\n\n```mermaid\nflowchart LR\n  A[Question] --> B{Known?}\n  B -->|yes| C[Answer]\n  B -->|no| D[Think] --> C\n```\n',
    );
    await say(page, 'Draw how you answer');
    await page.locator('article').getByRole('button', { name: 'Preview' }).click();
    await page.frameLocator('iframe').locator('svg').getByText('Think').waitFor();
  },
  thinking: async (page) => {
    await page.getByRole('button', { name: /^Thinking/ }).click();
    await page.getByText('So many tokens at most').click();
  },
  prompts: async (page) => {
    const field = page.locator('#composer');
    await field.fill('/');
    await page.getByRole('option').last().click();
    for (const [name, text] of [
      ['Explain', 'Explain {{topic}} to a child.'],
      ['Translate', 'Translate “{{text}}” into {{language}}.'],
    ]) {
      await page.getByRole('button', { name: 'New prompt' }).click();
      await page.getByLabel('Name of the prompt').fill(name);
      await page.getByRole('textbox', { name: 'Text' }).fill(text);
      await page.getByRole('button', { name: 'Save' }).click();
      await page.getByRole('button', { name: `Edit: ${name}` }).waitFor();
    }
    await page.keyboard.press('Escape');
    await field.fill('');
    await field.fill('/');
    await page.getByRole('option').nth(2).waitFor();
  },
  shortcuts: async (page) => {
    await page.locator('body').press('Escape');
    await page.getByRole('log').focus();
    await page.keyboard.press('?');
  },
};

async function history(page) {
  for (const text of [
    'Plan a quiet weekend in the mountains',
    'Think about it',
    '用中文解释注意力机制',
    'Hello',
  ]) {
    await say(page, text);
    await page.evaluate(() => (location.hash = '#/'));
    await page.getByRole('heading', { name: 'What can I help with?' }).waitFor();
  }
}

const sideBySide = {
  compare: async (page) => {
    await page.getByRole('button', { name: 'Compare models', exact: true }).click();
    await page.getByRole('checkbox', { name: /workshop/ }).check();
    await page.getByRole('button', { name: 'Compare 2 models' }).click();
    await say(page, 'Plan a quiet weekend in the mountains', { wait: false });
    await page.getByRole('button', { name: 'Equally good' }).waitFor();
  },
  leaderboard: async (page) => {
    const votes = [7, 3, 2];
    const outcomes = ['better', 'better', 'tie'];
    const models = ['scripted', 'workshop/scripted'];
    for (const [kind, count] of votes.entries())
      for (let number = 0; number < count; number += 1) {
        const best = outcomes[kind] === 'better' ? models[kind] : null;
        const data = { comparison: `c${kind}x${number}`, models, outcome: outcomes[kind], best };
        await page.request.post(new URL('/app/votes', page.url()).href, { data });
      }
    await page.evaluate(() => (location.hash = '#/leaderboard'));
    await page.getByRole('table').waitFor({ state: 'attached' });
  },
};

const PASSWORD = 'correct horse';

/** A server with an account. */
async function accounts() {
  const served = await server();
  await fetch(`${served.url}/app/setup`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'anna', display_name: 'Anna', password: PASSWORD }),
  });
  return served;
}

async function signIn(page, entry) {
  await page.getByLabel('Name', { exact: true }).fill('anna');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.getByRole('heading', { name: 'What can I help with?' }).waitFor();
  await showConversations(page);
  await page.getByRole('button', { name: /^Signed in as/ }).click();
  await page.getByRole('menuitem', { name: entry, exact: true }).click();
}

/** From the account's dialog to the console. */
async function toConsole(page, tab) {
  const field = page.getByLabel('What the key is for');
  await field.waitFor();
  await page.keyboard.press('Escape');
  await field.waitFor({ state: 'hidden' });
  await look(page, tab);
}

const people = {
  signin: async () => {},
  account: async (page) => {
    await signIn(page, 'Account');
    await page.getByLabel('What the key is for').fill('laptop');
    await page.getByRole('button', { name: 'Create a key' }).click();
    await page.getByRole('textbox', { name: 'API keys' }).waitFor();
  },
  keys: async (page) => {
    await people.account(page);
    await toConsole(page, 'API keys');
    await page.getByRole('button', { name: 'Revoke: laptop' }).first().waitFor();
  },
  people: async (page) => {
    await signIn(page, 'Account');
    await toConsole(page, 'People');
    await page.getByRole('button', { name: 'Invite someone' }).click();
    await page.getByRole('textbox', { name: 'Link' }).waitFor();
  },
};

const attached = (name, content) => ({
  name,
  mimeType: 'text/plain',
  buffer: Buffer.from(content),
});

async function attach(page, ...files) {
  await page.locator('input[type=file]').setInputFiles(files);
  const { name } = files.at(-1);
  await page.getByRole('button', { name: `Show the text of ${name}` }).waitFor();
}

const files = {
  files: async (page) => {
    await page.locator('input[type=file]').setInputFiles([attached('empty.txt', '')]);
    await page.getByRole('alert').waitFor();
    // The browser tells of the refusal in its console, too.
    page.faults = page.faults.filter((fault) => !/status of 400/.test(fault));
    await attach(page, attached('book.pdf', book), attached('note.md', note));
    await page.locator('#composer').fill('What is the password of the cellar?');
  },
  sources: async (page) => {
    await attach(page, attached('book.pdf', book));
    await say(page, 'What is the password of the cellar?');
    await page.getByRole('button', { name: /passages? used$/ }).click();
    await page.locator('.source').last().waitFor();
  },
  passage: async (page) => {
    await files.sources(page);
    await page.locator('.source').first().click();
    await page.locator('mark').waitFor();
  },
};

/** A server with tools. */
async function withTools() {
  const tools = await toolServer();
  const served = await server('--tools', tools.file);
  const stop = async () => {
    await served.stop();
    tools.stop();
  };
  return { url: served.url, stop };
}

const asked = async (page) => {
  await switchOn(page, /^Forecast/);
  await say(page, 'How is the weather in Paris?', { wait: false });
  await page.getByRole('button', { name: 'Allow once' }).waitFor();
};

const tools = {
  tools: async (page) => {
    await page.getByRole('button', { name: /^Tools:/ }).click();
    await page.getByRole('checkbox', { name: /^Forecast/ }).check();
  },
  permission: asked,
  call: async (page) => {
    await asked(page);
    await page.getByRole('button', { name: 'Allow once' }).click();
    await answered(page);
    await page.getByRole('button', { name: /^weather · forecast/ }).click();
  },
};

/** What who runs the server looks after. */
const managed = {
  models: async (page) => {
    await look(page, 'Models');
    await page.getByRole('button', { name: 'Load: broken' }).click();
    await page.getByText('its file is cut off').waitFor();
    await page.getByRole('button', { name: 'Load: quick' }).click();
    await page.getByRole('button', { name: 'Unload: quick' }).waitFor();
  },
  loading: async (page) => {
    // Whoever looked at this screen before has had it loaded.
    await page.request.post(new URL('/app/models/patient/unload', page.url()).href);
    await page.getByRole('button', { name: /^Choose a model/ }).click();
    await page.getByRole('menuitemradio', { name: /^patient/ }).click();
    await say(page, 'Hello', { wait: false });
    await page.getByText(/^Loading patient/).waitFor();
  },
  engine: async (page) => {
    await say(page, 'Hello');
    await look(page, 'Engine');
    await page.getByRole('region', { name: 'scripted' }).waitFor();
  },
  data: async (page) => {
    await say(page, 'Hello');
    await look(page, 'Data');
    await page.getByText('Conversations of the chat').waitFor();
  },
  usage: async (page) => {
    await say(page, 'Hello');
    await look(page, 'Usage');
    await page.getByRole('img', { name: /requests, .* tokens in/ }).waitFor();
  },
};

/** Which servers there are, and the screens that each shows: by name, what brings them about in a fresh page. */
export const groups = [
  [() => server('--no-store'), alone],
  [() => pair('workshop'), sideBySide],
  [accounts, people],
  [() => server(), files],
  [withTools, tools],
  [many, managed],
];
