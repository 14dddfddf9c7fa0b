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

/** What it says of a Node that has no long-term support yet, as that of package.json. */
const UNSUPPORTED = /attention\.warn\('Unsupported runtime\.[^']*'\);/;
/**
 * oidc-provider knows its records and errors by the names of their classes, which are not to be shortened.
 * Elsewhere a name would be set anew on every function that a request makes.
 */
const NAMED = /\/lib\/(models\/|helpers\/(errors|re_render_errors)\.js$)/;
const namedProvider: Plugin = {
  name: 'named provider',
  setup: ({ onLoad }) =>
    onLoad({ filter: /\/oidc-provider\/lib\/.*\.js$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8');
      const isIndex = path.endsWith('/lib/index.js');
      if (isIndex && !UNSUPPORTED.test(text)) throw new Error(`${path} warns of the runtime in other words`);
      const quiet = isIndex ? text.replace(UNSUPPORTED, '') : text;
      if (!NAMED.test(path)) return { contents: quiet, loader: 'js' };
      const { code } = await transform(quiet, { keepNames: true, sourcemap: 'inline', sourcefile: path });
      return { contents: code, loader: 'js' };
    }),
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
  plugins: [fewMediaTypes, requiredHttp, namedProvider],
  // What is CommonJS inside asks for `require`.
  banner: {
    js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
  },
});
await chmod('dist/main.js', 0o755);
