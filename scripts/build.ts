/**
 * src → dist: one file for the program and a chunk for each plug-in, so that only
 * what is configured is loaded. koffi stays outside, since it is native.
 */
import { chmod, rm } from 'node:fs/promises';
import { build } from 'esbuild';

await rm('dist', { recursive: true, force: true });
await build({
  entryPoints: { main: 'src/main.ts', 'chunks/hash-worker': 'src/attestors/hash-worker.ts' },
  outdir: 'dist',
  chunkNames: 'chunks/[name]-[hash]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  external: ['koffi'],
  sourcemap: true,
  minify: true,
  keepNames: true,
  legalComments: 'linked',
  // What is CommonJS inside asks for `require`.
  banner: {
    js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
  },
});
await chmod('dist/main.js', 0o755);
