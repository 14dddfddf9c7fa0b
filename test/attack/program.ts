/** The attesting server as a program of its own, and file systems in an attacker's hand. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chownSync, mkdirSync, mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Actor, python, start } from './actor.ts';
import { createDirectory } from './server.ts';

export const SERVE = [process.execPath, fileURLToPath(new URL('serve.ts', import.meta.url))];

/** Starts the server under a wrapper such as `unshare`; `uid` is who may make the socket. Returns its path. */
export async function serveIn(
  t: TestContext,
  wrapper: readonly string[],
  uid: number,
  ...flags: string[]
): Promise<string> {
  const path = join(createDirectory(t), 'run', 'api.sock');
  mkdirSync(join(path, '..'), { mode: 0o755 });
  chownSync(join(path, '..'), uid, uid);
  const server = start(t, [...wrapper, ...SERVE, path, ...flags]);
  assert.equal(await server.hear(), 'ready');
  return path;
}

export const isRoot = process.getuid?.() === 0;

/** Whether we may make namespaces and mount in them: root in a container often may not. */
export const canUnshare =
  isRoot && succeeds('unshare', '-m', '-p', '-f', 'mount', '-t', 'tmpfs', 'none', '/mnt');

function succeeds(program: string, ...args: string[]): boolean {
  return spawnSync(program, args).status === 0;
}

/** A FUSE mount with one file, `prog`, that shows the bytes of `source`. */
export async function mountFuse(t: TestContext, source: string): Promise<{ prog: string; daemon: Actor }> {
  const directory = mkdtempSync(join(tmpdir(), 'mintmark-fuse-'));
  const daemon = start(t, python('fuse.py', directory, source));
  // Removed only where nothing is mounted any more: a daemon that hangs would hang us.
  t.after(() => {
    execFileSync('umount', ['-l', directory]);
    rmdirSync(directory);
  });
  assert.equal(await daemon.hear(), 'mounted');
  return { prog: join(directory, 'prog'), daemon };
}
