/** The built program in a tree of files, as an installer lays it down. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../deploy/program.ts';

export const BUILT = join(ROOT, 'dist/main.js');

/** What a package of it has, and koffi beside it, which is native and not in the bundle. */
export function install(directory: string): void {
  assert(existsSync(BUILT), 'dist/main.js is missing: make build');
  mkdirSync(directory, { recursive: true });
  for (const part of ['package.json', 'dist', 'node_modules/koffi', 'node_modules/@koromix'])
    cpSync(join(ROOT, part), join(directory, part), { recursive: true });
}
