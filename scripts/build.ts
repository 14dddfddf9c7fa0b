/**
 * src → dist: one file for the program and a chunk for each plug-in, so that only
 * what is configured is loaded. koffi stays outside, since it is native; so does pg-native, which pg
 * does without.
 */
import { chmod, readFile, rm } from 'node:fs/promises';
import { build, type Plugin, transform } from 'esbuild';

/** Koa's table of all media types is a third of the program: what it answers with by a short name is enough. */
const MEDIA_TYPES = ['application/json', 'application/octet-stream', 'text/html', 'text/plain'];
const fewMediaTypes: Plugin = {
  name: 'few media types',
  setup: ({ onLoad }) =>
    onLoad({ filter: /\/mime-db\/db\.json$/ }, async ({ path }) => {
      const all = JSON.parse(await readFile(path, 'utf8'));
      const few = Object.fromEntries(MEDIA_TYPES.map((type) => [type, all[type]]));
      return { contents: JSON.stringify(few), loader: 'json' };
    }),
};

/** oidc-provider knows its models and errors by the names of their classes, in tables and in what it stores. */
const namedClasses: Plugin = {
  name: 'named classes',
  setup: ({ onLoad }) =>
    onLoad({ filter: /\/oidc-provider\/lib\/(models\/.*|helpers\/\w*errors)\.js$/ }, async ({ path }) => {
      const { code } = await transform(await readFile(path, 'utf8'), { keepNames: true, target: 'node20' });
      return { contents: code, loader: 'js' };
    }),
};

/**
 * To import node:http as a module reads all that it exports, and its WebSocket loads an HTTP client of 3 MiB
 * and 20 ms: it is required instead, as Koa does.
 */
const requiredHttp: Plugin = {
  name: 'required http',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:http$/ }, ({ path, kind }) =>
      kind === 'require-call' ? { path, external: true } : { path, namespace: 'required' },
    );
    onLoad({ filter: /./, namespace: 'required' }, ({ path }) => ({
      contents: `module.exports = require('${path}')`,
    }));
  },
};

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
  external: ['koffi', 'pg-native'],
  sourcemap: true,
  minify: true,
  legalComments: 'linked',
  plugins: [fewMediaTypes, namedClasses, requiredHttp],
  // What is CommonJS inside asks for `require`.
  banner: {
    js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
  },
});
await chmod('dist/main.js', 0o755);
