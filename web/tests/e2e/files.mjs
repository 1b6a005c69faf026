// Makes the files that journeys add to a chat: a note, a book as PDF, and names that try to run.

/** A PDF of pages with one line each. */
export function pdf(pages) {
  const objects = [
    '<< /Type /Catalog /Pages 2 0 R >>',
    `<< /Type /Pages /Count ${pages.length} /Kids [${pages.map((_, page) => `${4 + 2 * page} 0 R`).join(' ')}] >>`,
    '<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>',
  ];
  for (const [page, lines] of pages.entries()) {
    const shown = lines.map((line) => `(${line}) Tj T*`).join('\n');
    const content = `BT /F 12 Tf 14 TL 50 750 Td\n${shown}\nET`;
    objects.push(
      `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents ${5 + 2 * page} 0 R /Resources << /Font << /F 3 0 R >> >> >>`,
      `<< /Length ${content.length} >>\nstream\n${content}\nendstream`,
    );
  }
  let file = '%PDF-1.7\n';
  const places = objects.map((object, index) => {
    const place = file.length;
    file += `${index + 1} 0 obj\n${object}\nendobj\n`;
    return `${String(place).padStart(10, '0')} 00000 n \n`;
  });
  const size = objects.length + 1;
  const table = `xref\n0 ${size}\n0000000000 65535 f \n${places.join('')}`;
  return `${file}${table}trailer\n<< /Size ${size} /Root 1 0 R >>\nstartxref\n${file.length}\n%%EOF\n`;
}

/** Longer than the context of a script, with one fact on page 9. */
export const book = pdf(
  Array.from({ length: 16 }, (_, page) => [
    `Chapter ${page + 1}`,
    ...Array.from(
      { length: 8 },
      (_, line) => `In the year ${1801 + 8 * page + line} the harvest was good and wool was cheap.`,
    ),
    ...(page === 8 ? ['The password of the cellar is Zebra-91.'] : []),
  ]),
);

export const note = '# The cellar\n\nThe boiler has the number 4711.\n';

/** Names of files that try to run, to leave or to hide. */
export const names = [
  '<img src=x onerror=window.__fired=1>.txt',
  '"><script>window.__fired=1<script>.txt',
  "'onmouseover='window.__fired=1.txt",
  'javascript:window.__fired=1.txt',
  '![p](https:evil.example).md',
  '${window.__fired=1}{{window.__fired=1}}{@html 1}.txt',
  'gpj.\u202etxt',
  `${'long'.repeat(60)}.txt`,
];
