/** What the tests with Docker share. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { TestContext } from 'node:test';
import { run } from '../deploy/program.ts';

// Its helper container is on a registry; every test here removes what it made.
process.env.TESTCONTAINERS_RYUK_DISABLED = 'true';

export const NO_DOCKER = 'no Docker daemon answers: apt-get install docker.io && test/e2e/docker.sh';
export const hasDocker = (await run('docker', ['version'])).code === 0;

/** Runs the command and resolves to what it prints. */
export async function docker(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run('docker', args);
  assert.equal(code, 0, stderr);
  return stdout.trim();
}

/** A program of the workload's own: any HTTP client that takes a socket will do. */
export const ASK = `require('node:http')
  .request({ socketPath: '/run/mintmark/api.sock', path: '/v1/tokens/oidc', method: 'POST' }, async (response) =>
    console.log(JSON.stringify({ status: response.statusCode, body: (await response.toArray()).join('') })))
  .on('error', ({ code }) => console.log(JSON.stringify({ status: code })))
  .end('{"aud":"sts.amazonaws.com"}')`;

/** Runs until it is killed. */
export const SLEEP = 'setInterval(() => {}, 60_000)';

/** Starts a container with node in it and the socket's directory or volume; it is removed after the test. */
export async function startContainer(
  t: TestContext,
  image: string,
  socket: string,
  script: string,
  ...options: string[]
): Promise<string> {
  const mount = `--volume=${socket}:/run/mintmark:ro`;
  const id = await docker('run', '--detach', mount, ...options, image, 'node', '-e', script);
  t.after(() => docker('rm', '--force', id));
  return id;
}

/** What a process in a container is answered. */
export async function askFrom(container: string): Promise<{ status: number; body: string }> {
  return JSON.parse(await docker('exec', container, 'node', '-e', ASK));
}

/** Removed after the test with the containers that use it, which all here do. */
export function createVolume(t: TestContext): string {
  const name = `mintmark-e2e-${randomUUID()}`;
  t.after(async () => {
    const users = await docker('ps', '--all', '--quiet', `--filter=volume=${name}`);
    if (users !== '') await docker('rm', '--force', ...users.split('\n'));
    await docker('volume', 'rm', name);
  });
  return name;
}
