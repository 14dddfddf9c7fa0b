/**
 * `make run`: a development issuer, a caller, a token, its verification by the
 * published documents; then it keeps serving. Everything is what a user would do.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createRemoteJWKSet, jwtVerify } from 'jose';

const AUDIENCE = 'https://example.com';
const START_TIMEOUT_MS = 20_000;
const run = promisify(execFile);
const main = new URL('../src/main.ts', import.meta.url).pathname;
const directory = mkdtempSync(join(tmpdir(), 'mintmark-run-'));
const socket = join(directory, 'api.sock');
const logFile = join(directory, 'mintmark.log');
const listen = `127.0.0.1:${await freePort(8787)}`;
const status = `127.0.0.1:${await freePort(9464)}`;
const issuer = `http://${listen}`;

const log = openSync(logFile, 'w');
const server = spawn(process.execPath, [main, 'serve', '--socket', socket, '--listen', listen], {
  env: { ...process.env, MINTMARK_STATUS_LISTEN: status },
  stdio: ['ignore', log, log],
});
closeSync(log);
server.once('exit', (code) => {
  const said = readFileSync(logFile, 'utf8');
  rmSync(directory, { recursive: true, force: true });
  if (code === 0) process.exit(0);
  console.error(`the issuer ended (${code}):\n${said}`);
  process.exit(code ?? 1);
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => server.kill('SIGTERM'));

step('started', `${issuer}, socket ${socket}, log ${logFile}`);
await ready();
step('attested', (await mintmark('explain', '--aud', AUDIENCE)).split('\n')[0]?.replace('caller', '').trim());
const token = (await mintmark('token', '--aud', AUDIENCE)).trim();
step('minted', `${token.slice(0, 32)}… (${token.length} characters) for aud ${AUDIENCE}`);
const metadata = (await (await fetch(`${issuer}/.well-known/openid-configuration`)).json()) as {
  jwks_uri: string;
};
const { payload, protectedHeader } = await jwtVerify(token, createRemoteJWKSet(new URL(metadata.jwks_uri)), {
  issuer,
  audience: AUDIENCE,
});
step('verified', `by ${metadata.jwks_uri}: kid ${protectedHeader.kid}, sub ${payload.sub}`);
step('metrics', `http://${status}/metrics`);
console.log(
  `\nTry it:\n  curl --unix-socket ${socket} http://localhost/v1/tokens/oidc -d '{"aud":"${AUDIENCE}"}'\n`,
);
console.log('Serving; Ctrl-C stops it.');

function step(name: string, text: string | undefined): void {
  console.log(`${name.padEnd(10)}${text ?? ''}`);
}

async function mintmark(...args: string[]): Promise<string> {
  return (await run(process.execPath, [main, ...args], { env: { ...process.env, MINTMARK_SOCKET: socket } }))
    .stdout;
}

async function ready(): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const answer = await fetch(`http://${status}/readyz`).catch(() => undefined);
    if (answer?.ok === true) return;
    if (Date.now() > deadline) throw new Error('the issuer did not become ready');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The port, or another one where somebody has it. */
async function freePort(wanted: number): Promise<number> {
  for (const port of [wanted, 0]) {
    const probe = createServer();
    try {
      probe.listen(port, '127.0.0.1');
      await once(probe, 'listening');
      const { port: found } = probe.address() as { port: number };
      return found;
    } catch {
      // Taken: any other will do.
    } finally {
      probe.close();
    }
  }
  throw new Error('no free port');
}
