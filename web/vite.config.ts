// Turns src/ into the static files of dist/, and tells vitest where the unit tests are.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

// While the chat is written, a running server answers: MYRIAD_URL=http://127.0.0.1:8080 npm run dev
const server = process.env['MYRIAD_URL'] ?? 'http://127.0.0.1:8080';
const there = { target: server, changeOrigin: true, headers: { origin: server } };
const proxy = { '/v1': there, '/app': there, '/api': there };

export default defineConfig({
  plugins: [svelte()],
  build: {
    target: 'es2022',
    // tools/finish.mjs empties dist/ first: what git keeps of the folder stays.
    emptyOutDir: false,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy },
  preview: { proxy },
  test: { include: ['tests/unit/**/*.test.ts'], environment: 'node' },
});
