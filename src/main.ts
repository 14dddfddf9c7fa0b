#!/usr/bin/env -S node --max-semi-space-size=1 --optimize-for-size
/** The program. The V8 flags above keep a server that allocates little from growing a large young heap. */
import { statSync } from 'node:fs';
import module from 'node:module';

// A cache of compiled code is as good as code: only ever below a directory that is the user's own.
const { CACHE_DIRECTORY, XDG_CACHE_HOME, HOME } = process.env;
const base = CACHE_DIRECTORY ?? XDG_CACHE_HOME ?? HOME;
if (base !== undefined && statSync(base, { throwIfNoEntry: false })?.uid === process.geteuid?.())
  module.enableCompileCache?.(`${base}/${base === HOME ? '.cache/' : ''}mintmark-code`);

const { run } = await import('./cli.ts');
process.exitCode = await run(process.argv.slice(2));
