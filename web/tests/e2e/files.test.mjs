// Adds files to a chat in every way, asks about them, and opens what the answer was made with.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { book, names, note } from './files.mjs';
import { accessible, answered, browser, say, server } from './harness.mjs';

let served, opened;
before(async () => {
  served = await server();
  opened = await browser(served.url);
});
after(async () => {
  await opened?.stop();
  await served?.stop();
});

function journey(name, walk, options = {}) {
  test(name, { timeout: 60_000 }, async () => {
    const page = await opened.page(options);
    page.setDefaultTimeout(10_000);
    await page.getByRole('button', { name: 'Add files' }).waitFor();
    await walk(page);
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });
}

const button = (page, name) => page.getByRole('button', { name, exact: true });
const chips = (page) => page.locator('.foot ul[aria-label=Files] li');
const chooser = (page) => page.locator('input[type=file]');
const text = (name, content) => ({ name, mimeType: 'text/plain', buffer: Buffer.from(content) });

/** Drops files on the page, as a person's file manager would. */
async function drop(page, files) {
  const transfer = await page.evaluateHandle((files) => {
    const transfer = new DataTransfer();
    for (const { name, content } of files) transfer.items.add(new File([content], name));
    return transfer;
  }, files);
  await page.dispatchEvent('main', 'dragover', { dataTransfer: transfer });
  await page.getByText('Drop files to add them').waitFor();
  await page.dispatchEvent('main', 'drop', { dataTransfer: transfer });
}

journey('a note and a book are dropped, asked about, and the passages open', async (page) => {
  await drop(page, [
    { name: 'note.md', content: note },
    { name: 'book.pdf', content: book },
  ]);
  await button(page, 'Show the text of book.pdf').waitFor();
  await chips(page).getByText('16 pages').waitFor();
  await accessible(page, 'files in the composer');
  await button(page, 'Show the text of note.md').click();
  await page.getByRole('dialog').getByText('The boiler has the number 4711.').waitFor();
  await accessible(page, 'the text of a file');
  await page.keyboard.press('Escape');
  await say(page, 'What is the password of the cellar?');
  assert.equal(await chips(page).count(), 0);
  const answer = page.locator('article.assistant').last();
  await answer.getByText('Zebra-91').waitFor();
  await answer.getByRole('button', { name: /passages? used$/ }).click();
  await accessible(page, 'passages');
  await answer.getByText('page 9').click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('Page 9 of 16').waitFor();
  assert.match(await dialog.locator('mark').innerText(), /cellar is Zebra-91\./);
  await button(dialog, 'Next page').click();
  await dialog.getByText('Page 10 of 16').waitFor();
  await page.keyboard.press('Escape');
  // All of it is the server's: another look has it.
  await page.reload();
  await page.locator('article.user').getByText('book.pdf').waitFor();
  await page
    .locator('article.assistant')
    .getByRole('button', { name: /passages? used$/ })
    .waitFor();
  await say(page, 'And the boiler?');
});

journey('a small file stands whole in the question, alone too', async (page) => {
  await chooser(page).setInputFiles([text('note.md', note)]);
  await button(page, 'Show the text of note.md').waitFor();
  await button(page, 'Send').click();
  await answered(page);
  await page.locator('article.assistant').getByText('The file says 4711.').waitFor();
  assert.equal(await page.getByRole('button', { name: /used$/ }).count(), 0);
  // What is said next knows the file, and an edited question keeps it.
  await say(page, 'And what else?');
  await page.locator('article.assistant').last().getByText('The file says 4711.').waitFor();
  await page.getByRole('button', { name: 'Options for “note.md”' }).click();
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page
      .getByRole('menuitem', { name: /Markdown/ })
      .first()
      .click(),
  ]);
  assert.match(await readFile(await download.path(), 'utf8'), /- ` note\.md `/);
});

journey('what is too large or no text is refused, and taken away', async (page) => {
  await chooser(page).setInputFiles([
    text('huge.txt', 'a'.repeat(33 << 20)),
    text('picture.png', '\u0089PNG not really \u0000\u0001'),
    text('fine.txt', 'fine'),
  ]);
  await page.getByText('Larger than 34 MB').waitFor();
  await page.getByText('no text, but bytes of an unknown kind').waitFor();
  await button(page, 'Show the text of fine.txt').waitFor();
  await accessible(page, 'refused files');
  // The browser tells of each refusal in its console, too.
  page.faults = page.faults.filter((fault) => !/status of 400/.test(fault));
  for (const name of ['huge.txt', 'picture.png', 'fine.txt'])
    await button(page, `Remove ${name}`).click();
  assert.equal(await chips(page).count(), 0);
});

journey('pasted files are added, pasted text is text', async (page) => {
  await page.locator('#composer').focus();
  await page.evaluate(() => {
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File(['a,b\n"x, y",2\n'], 'sums.csv'));
    document.activeElement.dispatchEvent(
      new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }),
    );
  });
  await button(page, 'Show the text of sums.csv').click();
  await page.getByRole('cell', { name: 'x, y' }).waitFor();
  await accessible(page, 'a table');
});

journey('names of files fire nothing, wherever they are shown', async (page) => {
  for (const name of names) {
    await chooser(page).setInputFiles([text(name, `The name is ${name}`)]);
    await button(page, `Show the text of ${name}`).waitFor();
  }
  await button(page, `Show the text of ${names[0]}`).click();
  await page.keyboard.press('Escape');
  await say(page, 'What are they called?');
  for (const name of names)
    await page.locator('article.user').getByText(name, { exact: true }).waitFor();
  await page.reload();
  await page.locator('article.user').getByText(names[0], { exact: true }).waitFor();
  assert.equal(await page.evaluate(() => globalThis.__fired), undefined);
  const made = page.locator('#app article :is(img, script, iframe)');
  assert.equal(await made.count(), 0);
});

journey(
  'on a small dark phone all of it has room',
  async (page) => {
    await chooser(page).setInputFiles([
      text(`${'a-long-name-'.repeat(9)}.txt`, 'x'),
      text('b', 'y'),
    ]);
    await button(page, 'Show the text of b').waitFor();
    await accessible(page, 'files on a phone');
    const wide = () => page.evaluate(() => document.documentElement.scrollWidth);
    assert.equal(await wide(), 320);
    await button(page, 'Show the text of b').click();
    await page.getByRole('dialog').waitFor();
    assert.equal(await wide(), 320);
    await page.keyboard.press('Escape');
    await say(page, 'Look');
    assert.equal(await wide(), 320);
  },
  { viewport: { width: 320, height: 640 }, colorScheme: 'dark', hasTouch: true },
);

test('a server that keeps nothing offers no files', { timeout: 60_000 }, async () => {
  const forgetful = await server('--no-store');
  const page = await opened.page({}, forgetful.url);
  await say(page, 'Hello');
  assert.equal(await page.getByRole('button', { name: 'Add files' }).count(), 0);
  assert.deepEqual(page.faults, []);
  await page.context().close();
  await forgetful.stop();
});
