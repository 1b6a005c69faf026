// Comes in by the word of an issuer: the first one, another by an invitation, one who links, and those who are refused.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { accessible, browser, say, serverAt } from './harness.mjs';
import { issuer } from './issuer.mjs';

const PASSWORD = 'correct horse';

let id, served, opened, url;
before(async () => {
  id = await issuer('Anna', 'Ben', 'Eve');
  // The issuer has to be told where browsers come back to before there is a server.
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  const flags = ['--oidc-name', 'Example ID', '--public-url', url];
  served = await serverAt(String(port), ...id.flags, ...flags);
  opened = await browser(url);
});
after(async () => {
  await opened?.stop();
  await served?.stop();
  await id?.stop();
});

async function freePort() {
  const taken = createServer();
  await new Promise((resolve) => taken.listen(0, '127.0.0.1', resolve));
  const { port } = taken.address();
  await new Promise((resolve) => taken.close(resolve));
  return port;
}

const button = (page, name) => page.getByRole('button', { name, exact: true });
const menu = async (page, name) => {
  await page.getByRole('button', { name: /^Signed in as/ }).click();
  await page.getByRole('menuitem', { name, exact: true }).click();
};
const choose = (page, name) => page.getByRole('link', { name, exact: true }).click();

/** The issuer is another host, and refusals were asked for. */
const faults = (page) =>
  page.faults.filter((fault) => !/^asked localhost|status of 40[013]|status of 502/.test(fault));

test('people come in by the word of an issuer', { timeout: 120_000 }, async () => {
  const anna = await opened.page();
  anna.setDefaultTimeout(10_000);
  await say(anna, 'Hello');
  await button(anna, 'Settings').click();
  await button(anna, 'Create an account…').click();
  await anna.getByLabel('Name', { exact: true }).fill('Anna');
  await anna.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await button(anna, 'Create an account').click();
  await button(anna, 'Signed in as Anna').waitFor();

  // She links her account: the issuer's page, and back into the same dialog.
  await menu(anna, 'Account');
  await button(anna, 'Link to Example ID').click();
  await choose(anna, 'Anna');
  await anna.getByText('From now on you can sign in with Example ID.').waitFor();
  await accessible(anna, 'linked');
  await anna.keyboard.press('Escape');
  await menu(anna, 'Sign out');
  await button(anna, 'Sign in with Example ID').waitFor();
  await accessible(anna, 'sign in');
  await button(anna, 'Sign in with Example ID').click();
  await choose(anna, 'Anna');
  await button(anna, 'Signed in as Anna').waitFor();

  // Whoever has no invitation is told so; whoever says no there, too.
  const ben = await opened.page({ viewport: { width: 320, height: 640 }, colorScheme: 'dark' });
  ben.setDefaultTimeout(10_000);
  await button(ben, 'Sign in with Example ID').click();
  await choose(ben, 'Ben');
  await ben.getByRole('alert').getByText('you have no account here').waitFor();
  await accessible(ben, 'refused');
  await button(ben, 'Sign in with Example ID').click();
  await choose(ben, 'No');
  await ben.getByRole('alert').getByText('Example ID was told not to let you in.').waitFor();
  id.leave(true);
  await button(ben, 'Sign in with Example ID').click();
  const away = ben.getByRole('alert').getByText(/does not answer as it should/);
  const chosen = ben.getByRole('link', { name: 'Ben', exact: true });
  // What it says of itself is known for an hour: then the browser finds that nobody is there.
  await away.or(ben.locator('body:not(:has(main))')).first().waitFor();
  id.leave(false);
  await ben.goto(url);

  // With one he comes in, and it is his from then on.
  await button(anna, 'Console').click();
  await anna.getByRole('tab', { name: 'People' }).click();
  await button(anna, 'Invite someone').click();
  const link = await anna.getByRole('textbox', { name: 'Link' }).inputValue();
  await ben.goto(link);
  await ben.reload();
  await ben.getByRole('heading', { name: 'You are invited' }).waitFor();
  await accessible(ben, 'invitation');
  await button(ben, 'Sign in with Example ID').click();
  await chosen.click();
  await ben.getByRole('heading', { name: 'What can I help with?' }).waitFor();
  assert.equal(new URL(ben.url()).hash, '');
  await say(ben, 'Hello');
  await anna.keyboard.press('Escape');
  for (const page of [anna, ben]) {
    assert.deepEqual(faults(page), []);
    await page.context().close();
  }
});
