/**
 * A step of the Dockerfile: starts Mintmark once, asks it for a token and stops it, so
 * that the compiled code is in the image and a start on a read-only root is fast.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, rmSync } from 'node:fs';

const SCRATCH = '/var/lib/mintmark/warm';
const SOCKET = '/run/mintmark/api.sock';
const { execPath, execArgv } = process;
const program = [...execArgv, '/opt/mintmark/dist/main.js'];

const server = spawn(execPath, [...program, 'serve', '--socket', SOCKET, '--state', SCRATCH], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
// Its log must go on being read: no token without its audit line.
await new Promise((resolve) => server.stdout.on('data', (lines) => lines.includes('"ready"') && resolve()));
for (const command of [['token', '--aud', 'https://example.com'], ['health']])
  execFileSync(execPath, [...program, ...command], { stdio: ['ignore', 'ignore', 'inherit'] });
server.kill('SIGTERM');
const [code] = await once(server, 'exit');

// Locks, and keys that nobody shall have.
for (const directory of ['/var/lib/mintmark', '/run/mintmark'])
  for (const name of readdirSync(directory)) rmSync(`${directory}/${name}`, { recursive: true });
if (code !== 0) throw new Error(`mintmark serve ended with ${code}`);
