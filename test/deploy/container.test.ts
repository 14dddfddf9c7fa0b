/** Dockerfile and compose.yaml, as far as they can be checked without a Docker daemon. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isMissing } from '../stores/requires.ts';
import { hasCommand, ROOT, run, SOURCE } from './program.ts';

const DEPLOY = join(ROOT, 'deploy');

/** `docker compose`, or the older program of its own. */
async function findCompose(): Promise<readonly [string, ...string[]] | undefined> {
  if ((await run('docker', ['compose', 'version'])).code === 0) return ['docker', 'compose'];
  return (await hasCommand('docker-compose')) ? ['docker-compose'] : undefined;
}

test('the image runs node with the V8 flags of the program’s first line', () => {
  const [, flags = ''] = /^#!.* node (.*)$/m.exec(readFileSync(SOURCE, 'utf8')) ?? [];
  const commands = readFileSync(join(DEPLOY, 'Dockerfile'), 'utf8').match(/\["node", "--.*\]/g) ?? [];
  assert.equal(commands.length, 3, 'warm cache, health check, entry point');
  for (const command of commands) {
    const given = (JSON.parse(command) as string[]).filter((word) => word.startsWith('--'));
    assert.deepEqual(given, flags.split(' '));
  }
});

test('compose takes compose.yaml, and compose.docker.yaml over it', async (t) => {
  const compose = await findCompose();
  if (isMissing(t, compose !== undefined, 'docker compose is missing: apt-get install docker-compose'))
    return;
  const [command, ...args] = compose!;
  for (const files of [
    ['-f', 'compose.yaml', '--profile', 'monitoring'],
    ['-f', 'compose.yaml', '-f', 'compose.docker.yaml'],
  ]) {
    const { code, stderr } = await run(command, [...args, ...files, 'config', '-q'], DEPLOY);
    assert.equal(code, 0, stderr);
  }
});

test('mintmark takes the configurations beside them', async () => {
  for (const file of ['compose.mintmark.yaml', 'compose.docker.mintmark.yaml']) {
    const { code, stderr } = await run(process.execPath, [SOURCE, 'check', '--config', join(DEPLOY, file)]);
    assert.equal(code, 0, stderr);
  }
});
