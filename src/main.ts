#!/usr/bin/env -S node --max-semi-space-size=8
/** The program. The V8 flag above (MiB) keeps a server under load from growing a large young heap. */
import { statSync } from 'node:fs';
import module from 'node:module';
import { availableParallelism } from 'node:os';

// A signal without a listener ends the process: `serve` hears them from here on, and heeds them once it can.
const argv = process.argv.slice(2);
const stopped = new Promise<void>((resolve) => {
  if (argv[0] !== 'serve') return;
  process.on('SIGTERM', () => resolve()).on('SIGINT', () => resolve());
  process.on('SIGHUP', () => undefined);
});

// libuv's threads sign: one for each core, set before the first is needed.
process.env.UV_THREADPOOL_SIZE ??= String(Math.max(2, availableParallelism()));

// A cache of compiled code is as good as code: only ever below a directory that is the user's own.
const { CACHE_DIRECTORY, XDG_CACHE_HOME, HOME } = process.env;
const base = CACHE_DIRECTORY ?? XDG_CACHE_HOME ?? HOME;
if (base !== undefined && ownerOf(base) === process.geteuid?.())
  module.enableCompileCache?.(`${base}/${base === HOME ? '.cache/' : ''}mintmark-code`);

const { run } = await import('./cli.ts');
process.exitCode = await run(argv, stopped);

function ownerOf(path: string): number | undefined {
  try {
    return statSync(path).uid;
  } catch {
    return undefined; // absent, or below a directory that we may not enter
  }
}
