import { defineConfig } from 'vitest/config';

// The phone is served from "/" of the gateway, but relative URLs let it work
// under any prefix of a reverse proxy too.
export default defineConfig({
  base: './',
  build: {
    outDir: 'dist',
    emptyOutDir: true,
    target: 'es2022',
    // JsSIP's grammar alone is beyond the default limit of 500 kB.
    chunkSizeWarningLimit: 900,
    // A strict Content-Security-Policy forbids data: scripts (the audio worklet).
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  test: {
    include: ['test/unit/**/*.test.ts'],
    restoreMocks: true,
  },
});
