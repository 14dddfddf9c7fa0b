/** SIGHUP: what changes, what stays, and that no caller notices. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { ask, askToken, decode, metric, TOKENS } from './ask.ts';
import {
  AUDIENCE,
  createPlace,
  type LogLine,
  OWN_UID,
  type Place,
  ruleFor,
  type Server,
  start,
  writeConfig,
} from './start.ts';

const OTHER = 'https://other.example.com';
const TAKEN = 'the configuration was read again and holds from now on';
const KEPT = 'the new configuration is not taken; the old one stays';

/** Sends SIGHUP and waits for what comes of it. */
async function reload(server: Server): Promise<LogLine> {
  const from = server.lines().length;
  server.signal('SIGHUP');
  return server.line(/^the (?:new )?configuration (?:was read|is not taken)/, from);
}

function keepAlive(t: TestContext): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  return agent;
}

describe('SIGHUP', { concurrency: true }, () => {
  it('a changed rule holds for the next request, on the connection that is open', async (t) => {
    const place = await createPlace(t);
    writeConfig(place);
    const server = await start(t, place);
    const agent = keepAlive(t);
    const askFor = (aud: string) => askToken(place.socket, { aud }, { agent });
    assert.equal((await askFor(OTHER)).status, 403);
    writeConfig(place, { rules: [ruleFor({ audiences: [OTHER], ttl: '20m' })] });
    assert.equal((await reload(server)).msg, TAKEN);
    const answer = await askFor(OTHER);
    assert.deepEqual([answer.status, answer.isReused], [200, true]);
    const { claims } = decode(answer.text);
    assert.equal(claims.exp - claims.iat, 1200);
    const refused = await askFor(AUDIENCE);
    assert.deepEqual([refused.status, refused.isReused], [403, true]);
    assert.equal(await metric(server.status, 'mintmark_config_reloads_total{outcome="taken"}'), 1);
  });

  it('a new algorithm is published at once, and signs no sooner than verifiers know it', async (t) => {
    const place = await createPlace(t);
    const keys = { store: 'memory', publishAtLeast: '1h' };
    writeConfig(place, { keys });
    const server = await start(t, place);
    writeConfig(place, { keys, rules: [ruleFor({ algorithm: 'ES256' })] });
    assert.equal((await reload(server)).msg, TAKEN);
    const { jwks } = (await ask(place.admin, '/v1/documents')).json<{ jwks: { keys: { alg: string }[] } }>();
    assert.deepEqual(
      jwks.keys.map(({ alg }) => alg),
      ['RS256', 'RS256', 'ES256'],
    );
    const answer = await askToken(place.socket, { aud: AUDIENCE });
    assert.deepEqual([answer.status, answer.json().error], [503, 'key_not_ready']);
  });

  it('a bad file, and one that only a restart can take, keep the old and say why', async (t) => {
    const place = await createPlace(t);
    writeConfig(place);
    const server = await start(t, place);
    const agent = keepAlive(t);
    const isStillServed = async () => (await askToken(place.socket, { aud: AUDIENCE }, { agent })).status;
    const reasonOf = ({ msg, err, mistakes }: LogLine) => [msg, JSON.stringify(mistakes ?? err)] as const;
    const bad: readonly (readonly [() => void, RegExp])[] = [
      [() => writeFileSync(place.config, 'issuer: [\n'), /mintmark\.yaml:/],
      [
        () => writeConfig(place, { rules: [ruleFor({ audiences: OTHER }), ruleFor({ ttl: 5 })] }),
        /rules\[0\]\.audiences.*rules\[1\]\.ttl/,
      ],
      [
        () => writeConfig(place, { rules: [ruleFor({ match: ['unix:color:red'] })] }),
        /rules\[0\]\.match\[0\]/,
      ],
      [
        () => writeConfig(place, { rules: Array.from({ length: 40 }, () => ruleFor({ ttl: 5 })) }),
        /rules\[0\]\.ttl.*rules\[39\]\.ttl/,
      ],
      [
        () => writeConfig(place, { keys: { store: { file: place.state } } }),
        /only a restart can change keys/,
      ],
    ];
    for (const [spoil, reason] of bad) {
      spoil();
      const [message, why] = reasonOf(await reload(server));
      assert.equal(message, KEPT);
      assert.match(why, reason);
      assert.equal(await isStillServed(), 200);
    }
    assert.equal(await metric(server.status, 'mintmark_config_last_reload_successful'), 0);
    assert.equal(
      await metric(server.status, 'mintmark_config_reloads_total{outcome="rejected"}'),
      bad.length,
    );
    writeConfig(place);
    assert.equal((await reload(server)).msg, TAKEN);
    assert.equal(await metric(server.status, 'mintmark_config_last_reload_successful'), 1);
  });

  it('a call that is half sent is answered by the new rules', async (t) => {
    const place = await createPlace(t);
    writeConfig(place);
    const server = await start(t, place);
    const body = JSON.stringify({ aud: OTHER });
    const socket = connect(place.socket);
    t.after(() => socket.destroy());
    socket.write(`POST ${TOKENS} HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`);
    writeConfig(place, { rules: [ruleFor({ audiences: [OTHER] })] });
    assert.equal((await reload(server)).msg, TAKEN);
    socket.write(body);
    assert.match(await firstBytes(socket), /^HTTP\/1\.1 200 /);
  });

  it('certificates that were swapped are picked up, open connections go on, bad ones are not taken', async (t) => {
    const place = await createPlace(t);
    const files = { certificate: join(place.directory, 'tls.crt'), key: join(place.directory, 'tls.key') };
    createCertificate(files, 'first');
    writeConfig(place, {
      issuer: `https://localhost:${place.port}`,
      public: { listen: `127.0.0.1:${place.port}`, tls: files },
    });
    const server = await start(t, place);
    const before = await openTls(t, place);
    assert.equal(subjectOf(before), 'first');
    createCertificate(files, 'second');
    assert.equal((await reload(server)).msg, TAKEN);
    assert.equal(subjectOf(await openTls(t, place)), 'second');
    before.write('GET /.well-known/jwks HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.match(await firstBytes(before), /^HTTP\/1\.1 200 /);
    writeFileSync(files.key, 'no key');
    const { msg, err } = await reload(server);
    assert.match(msg, /the new configuration is not taken/);
    assert.match(JSON.stringify(err), /tls\.key holds no private key/);
    assert.equal(subjectOf(await openTls(t, place)), 'second');
  });
});

describe('SIGHUP and SIGTERM', { concurrency: true }, () => {
  for (const pause of [0, 5, 30])
    it(`a reload that a stop overtakes after ${pause} ms keeps nothing running`, async (t) => {
      const place = await createPlace(t);
      const path = join(place.directory, 'token');
      writeConfig(place, { tokens: [{ path, audience: AUDIENCE, owner: OWN_UID }] });
      const server = await start(t, place);
      for (let times = 0; times < 3; times++) server.signal('SIGHUP');
      await sleep(pause);
      server.signal('SIGTERM');
      assert.equal(await Promise.race([server.ended, sleep(15_000, 'still runs', { ref: false })]), 0);
      assert.equal(server.lines().at(-1)?.msg, 'stopped');
    });
});

function firstBytes(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject).once('close', () => reject(new Error('closed')));
    socket.once('data', (chunk) => resolve(chunk.toString()));
  });
}

function createCertificate(files: { certificate: string; key: string }, name: string): void {
  const request = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj';
  execFileSync(
    'openssl',
    [...request.split(' '), `/CN=${name}`, '-keyout', files.key, '-out', files.certificate],
    { stdio: 'ignore' },
  );
}

function openTls(t: TestContext, { port }: Place): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => resolve(socket));
    socket.once('error', reject);
    t.after(() => socket.destroy());
  });
}

const subjectOf = (socket: TLSSocket) => socket.getPeerCertificate().subject.CN;
