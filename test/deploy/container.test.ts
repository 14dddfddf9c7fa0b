/** Dockerfile and compose.yaml, as far as they can be checked without a Docker daemon. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isMissing } from '../stores/requires.ts';
import { createDirectory, hasCommand, ROOT, run, SOURCE } from './program.ts';

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

test('the image has mintmark on its path, for the base’s own node', (t) => {
  const text = readFileSync(join(DEPLOY, 'Dockerfile'), 'utf8');
  const [, step = ''] = /^RUN (.*'\/mintmark'.*)$/m.exec(text) ?? [];
  const [, , script = ''] = JSON.parse(step) as string[];
  const directory = createDirectory(t);
  const main = join(directory, 'main.js');
  writeFileSync(main, 'console.log(process.execArgv.join(), process.argv.slice(2).join());');
  symlinkSync(process.execPath, join(directory, 'node'));
  const here = script.replaceAll('/opt/mintmark/dist/main.js', main);
  execFileSync(process.execPath, ['-e', here], { env: { PATH: `/nowhere:${directory}` } });
  const said = execFileSync(join(directory, 'mintmark'), ['keys', 'list'], { encoding: 'utf8' });
  const [, flags = ''] = /^#!.* node (.*)$/m.exec(readFileSync(SOURCE, 'utf8')) ?? [];
  assert.equal(said, `${flags} keys,list\n`);
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
