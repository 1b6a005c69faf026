// Uses accounts as people would: the first one, an invitation, keys, a session that ends, a language and a theme.
import assert from 'node:assert/strict';
import { accessible, attempt, browser, journeys, say, server } from './harness.mjs';

const PASSWORD = 'correct horse';

const button = (page, name) => page.getByRole('button', { name, exact: true });
const menu = async (page, name) => {
  await page.getByRole('button', { name: /^Signed in as/ }).click();
  await page.getByRole('menuitem', { name, exact: true }).click();
};

/** Signs in where the page asks for it. */
async function signIn(page, name, password) {
  await page.getByLabel('Name', { exact: true }).fill(name);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await button(page, 'Sign in').click();
}

/** What a browser logs of a refusal is no fault: it was asked for. */
const faults = (page) => page.faults.filter((fault) => !/status of 40[013]/.test(fault));

attempt('one account, then another, each with what is theirs', async (later) => {
  const served = await server();
  later(served.stop);
  const { url } = served;
  const opened = await browser(url);
  later(opened.stop);
  const anna = await opened.page();
  await say(anna, 'Hello');
  await button(anna, 'Settings').click();
  await button(anna, 'Create an account…').click();
  await anna.getByLabel('Name', { exact: true }).fill('Anna');
  await anna.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await accessible(anna, 'first account');
  await button(anna, 'Create an account').click();
  await button(anna, 'Signed in as Anna').waitFor();
  await say(anna, 'Hello');

  // Another browser is asked who it is; a wrong password is told in place.
  const other = await opened.page();
  await other.getByRole('heading', { name: 'Sign in' }).waitFor();
  await accessible(other, 'sign in');
  await signIn(other, 'anna', 'wrong horse');
  await other.getByRole('alert').getByText('The name or the password is wrong.').waitFor();
  await signIn(other, 'anna', PASSWORD);
  await button(other, 'Signed in as Anna').waitFor();
  await say(other, 'Hello');

  // A key is shown once.
  await menu(anna, 'Account');
  await anna.getByLabel('What the key is for').fill('laptop');
  await button(anna, 'Create a key').click();
  const key = await anna.getByRole('textbox', { name: 'API keys' }).inputValue();
  assert.match(key, /^sk-myriad-/);
  const asked = () =>
    fetch(`${served.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } });
  assert.equal((await asked()).status, 200);
  await accessible(anna, 'account');
  await button(anna, 'Revoke: laptop').click();
  await anna.getByText('Revoked', { exact: true }).waitFor();
  assert.equal((await asked()).status, 401);

  // Another password signs the other browser out; it goes on where it was.
  await anna.getByLabel('Current password').fill(PASSWORD);
  await anna.getByLabel('New password').fill('another horse');
  await button(anna, 'Change password').click();
  await anna.getByText('The password is changed.').waitFor();
  await anna.keyboard.press('Escape');
  await say(other, 'Think about it', { wait: false });
  await other.getByText('Your session is over.').waitFor();
  await signIn(other, 'anna', 'another horse');
  await other.getByRole('log').getByText('forty-two').waitFor();

  // An invitation: its token stays in the fragment.
  await button(anna, 'Console').click();
  await anna.getByRole('tab', { name: 'People' }).click();
  await button(anna, 'Invite someone').click();
  const link = await anna.getByRole('textbox', { name: 'Link' }).inputValue();
  await accessible(anna, 'people');
  const ben = await opened.page({ viewport: { width: 320, height: 640 }, colorScheme: 'dark' });
  const sent = [];
  ben.on('request', (request) => sent.push(request.url()));
  await ben.goto(link.replace(new URL(link).origin, url));
  await ben.reload();
  await ben.getByRole('heading', { name: 'You are invited' }).waitFor();
  await accessible(ben, 'invitation');
  await ben.getByLabel('Name', { exact: true }).fill('Ben');
  await ben.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await button(ben, 'Enter').click();
  await ben.getByRole('heading', { name: 'What can I help with?' }).waitFor();
  const token = link.split('/').at(-1);
  assert.deepEqual(
    sent.filter((address) => address.split('#')[0].includes(token)),
    [],
  );
  await say(ben, 'Hello');

  // Locked out, then deleted, with what goes said.
  await anna.keyboard.press('Escape');
  await button(anna, 'Console').click();
  await anna.getByRole('tab', { name: 'People' }).click();
  await button(anna, 'Options for Ben').click();
  await anna.getByRole('menuitem', { name: 'Lock out' }).click();
  await anna.getByText('Locked out').waitFor();
  await ben.reload();
  await ben.getByRole('heading', { name: 'Sign in' }).waitFor();
  await button(anna, 'Options for Ben').click();
  await anna.getByRole('menuitem', { name: 'Delete the account' }).click();
  await anna.getByText('will be gone for good').waitFor();
  await accessible(anna, 'deleting');
  await button(anna, 'Delete the account').click();
  await button(anna, 'Options for Ben').waitFor({ state: 'detached' });
  await anna.keyboard.press('Escape');

  await menu(anna, 'Sign out');
  await anna.getByRole('heading', { name: 'Sign in' }).waitFor();
  for (const page of [anna, other, ben]) assert.deepEqual(faults(page), []);
});

/** A server with an account. */
async function withAccount() {
  const served = await server();
  const body = JSON.stringify({ name: 'anna', display_name: 'Anna', password: PASSWORD });
  const headers = { 'content-type': 'application/json' };
  await fetch(`${served.url}/app/setup`, { method: 'POST', headers, body });
  return served;
}

const journey = journeys(withAccount);

for (const [locale, heading] of [
  ['fr-FR', 'Se connecter'],
  ['zh-CN', '登录'],
]) {
  journey(
    `people come in in ${locale}, in the dark`,
    async (page) => {
      await page.getByRole('heading', { name: heading }).waitFor();
      await accessible(page, `sign in, ${locale}`);
      page.faults = faults(page);
    },
    { locale, colorScheme: 'dark' },
  );
}
