// Turns an artifact into what its frame writes: a whole page, and scripts that are not part of the text.
import type { Artifact } from './find';

export interface FramePage {
  html: string;
  scripts: string[];
}

/** What a frame tells the chat. */
export type FrameWord =
  { myriad: 'ready' } | { myriad: 'escape' } | { myriad: 'failed'; message: string };

/** Reads a message from a frame, which anything inside of it may have sent. */
export function wordOf(data: unknown): FrameWord | null {
  if (typeof data !== 'object' || data === null) return null;
  const { myriad, message } = data as { myriad?: unknown; message?: unknown };
  if (myriad === 'ready' || myriad === 'escape') return { myriad };
  if (myriad !== 'failed') return null;
  return { myriad, message: String(message ?? '').slice(0, 400) };
}

/** In each page before all else: the chat is told of errors, and Escape works from inside, too. */
const REPORTER = `<script>(() => {
  const tell = parent.postMessage.bind(parent);
  const failed = (message) => tell({ myriad: 'failed', message: String(message) }, '*');
  addEventListener('error', (event) => event.message && failed(event.message));
  addEventListener('unhandledrejection', (event) => failed(event.reason?.message ?? event.reason));
  addEventListener('keydown', (event) => event.key === 'Escape' && tell({ myriad: 'escape' }, '*'));
})();</script>`;

const base = (dark: boolean, style: string) => `<!doctype html>${REPORTER}
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<style>:root{color-scheme:${dark ? 'dark' : 'light'}}html,body{height:100%;margin:0;
background:${dark ? '#17181b' : '#fff'}}body{display:grid;place-items:center;padding:1rem;
box-sizing:border-box}svg{max-width:100%;height:auto}${style}</style>`;

/** A page keeps its own document type; without one it is a modern page. */
function htmlPage(text: string): string {
  const type = /^\s*<!doctype[^>]*>/i.exec(text)?.[0];
  return type
    ? `${type}${REPORTER}${text.slice(type.length)}`
    : `<!doctype html>${REPORTER}<meta charset="utf-8">${text}`;
}

/** Draws the diagram, or shows its text and tells why it cannot be drawn. */
const DRAW = `(async () => {
  const { source, theme } = JSON.parse(document.getElementById('source').textContent);
  const place = document.body;
  try {
    mermaid.initialize({ startOnLoad: false, securityLevel: 'strict', theme,
      suppressErrorRendering: true, htmlLabels: false, flowchart: { htmlLabels: false } });
    const { svg } = await mermaid.render('diagram', source);
    const drawn = new DOMParser().parseFromString(svg, 'text/html').querySelector('svg');
    place.replaceChildren(drawn);
  } catch (error) {
    const text = document.createElement('pre');
    text.textContent = source;
    place.replaceChildren(text);
    parent.postMessage({ myriad: 'failed', message: String(error?.message ?? error) }, '*');
  }
})();`;

/** The page of an artifact; `mermaid` is the text of the library, which a diagram alone needs. */
export function pageOf(artifact: Artifact, dark: boolean, mermaid: string): FramePage {
  switch (artifact.kind) {
    case 'html':
      return { html: htmlPage(artifact.text), scripts: [] };
    case 'svg':
      return { html: `${base(false, '')}<body>${artifact.text}`, scripts: [] };
    case 'mermaid': {
      // In JSON a `<` may be written otherwise: so no text ends the element that holds it.
      const data = JSON.stringify({ source: artifact.text, theme: dark ? 'dark' : 'default' });
      const held = data.replaceAll('<', '\\u003c');
      const html = `${base(dark, 'pre{white-space:pre-wrap}')}
<script type="application/json" id="source">${held}</script><body>`;
      return { html, scripts: [mermaid, DRAW] };
    }
    case 'code':
      return { html: '', scripts: [] };
  }
}

let library: Promise<string> | null = null;

/** The text of Mermaid, asked of this server with the first diagram that is looked at. */
export function mermaidText(): Promise<string> {
  library ??= import('mermaid/dist/mermaid.min.js?url')
    .then(async ({ default: url }) => {
      const response = await fetch(url);
      if (!response.ok) throw new Error(`${url}: ${response.status}`);
      return response.text();
    })
    .catch((error: unknown) => {
      library = null;
      throw error;
    });
  return library;
}
