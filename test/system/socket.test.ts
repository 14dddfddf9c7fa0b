/** Hostile and broken requests on the workloads' socket of the whole program, and who they come from. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { before, describe, it, type TestContext } from 'node:test';
import { python, startActor } from '../attack/actor.ts';
import { isMissing } from '../stores/requires.ts';
import { ask, askToken, decode, mint, TOKENS } from './ask.ts';
import {
  AUDIENCE,
  createPlace,
  defer,
  launch,
  mintmark,
  OTHER_UID,
  OWN_UID,
  type Place,
  ruleFor,
  type Server,
  start,
  until,
  writeConfig,
} from './start.ts';
import { scopeOf } from './suite.ts';

const GOOD = JSON.stringify({ aud: AUDIENCE });
const BY_PATH = 'https://by-path.example.com';
const OTHERS = 'https://others.example.com';
const MAX_OF_ONE_USER = 20;

describe('the socket', () => {
  const scope = scopeOf();
  let place: Place;
  let server: Server;

  before(async () => {
    place = await createPlace(scope);
    const [program = ''] = python('');
    const executable = execFileSync(program, ['-c', 'import os; print(os.readlink("/proc/self/exe"))'], {
      encoding: 'utf8',
    }).trim();
    writeConfig(place, {
      socket: { path: place.socket, mode: '0666', maxConnectionsPerUid: MAX_OF_ONE_USER },
      rules: [
        ruleFor(),
        ruleFor({
          name: 'python',
          match: [`unix:uid:${OWN_UID}`, `unix:path:${executable}`],
          audiences: [BY_PATH],
        }),
        ruleFor({ name: 'others', match: [`unix:uid:${OTHER_UID}`], audiences: [OTHERS] }),
      ],
    });
    server = await start(scope, place);
  });

  /** What comes back for these bytes until the server closes. */
  async function raw(...chunks: string[]): Promise<string> {
    const socket = connect(place.socket);
    const answer = text(socket);
    for (const chunk of chunks) socket.write(chunk);
    return answer;
  }

  const post = (headers: string, body = GOOD) => `POST ${TOKENS} HTTP/1.1\r\n${headers}\r\n\r\n${body}`;
  const length = `Content-Length: ${GOOD.length}`;
  const close = 'Connection: close';

  it('takes POST only, and says so', async () => {
    for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']) {
      const answer = await ask(place.socket, TOKENS, { method });
      assert.deepEqual([answer.status, answer.headers.allow], [405, 'POST'], method);
    }
    assert.equal((await ask(place.socket, '/v1/tokens')).status, 404);
  });

  it('goes on with a caller who was refused before the body came', async () => {
    const socket = connect(place.socket);
    const answers = text(socket);
    const refused = once(socket, 'data');
    socket.write(`POST /nowhere HTTP/1.1\r\nHost: a\r\n${length}\r\n\r\n`);
    assert.match(String(await refused), /^HTTP\/1\.1 404 /);
    socket.write(GOOD);
    socket.write(post(`Host: a\r\n${length}\r\n${close}`));
    assert.match(await answers, / 200 OK[\s\S]*\r\n\r\neyJ[\w.-]+$/);
  });

  it('answers nobody who came through a proxy or a browser', async () => {
    for (const name of [
      'Origin',
      'Forwarded',
      'Via',
      'X-Forwarded-For',
      'X-Forwarded-Host',
      'X-Forwarded-Proto',
    ]) {
      const answer = await askToken(place.socket, { aud: AUDIENCE }, { headers: { [name]: 'x' } });
      assert.deepEqual([answer.status, answer.json().error], [400, 'forwarded_request'], name);
    }
  });

  it('refuses what two parsers could read in two ways', async () => {
    const requests = {
      'no Host': post(`${length}\r\n${close}`),
      'two Hosts': post(`Host: a\r\nHost: b\r\n${length}\r\n${close}`),
      'two lengths': post(`Host: a\r\n${length}\r\nContent-Length: 3`),
      'length and chunks': post(`Host: a\r\n${length}\r\nTransfer-Encoding: chunked`),
      'a folded header': post(`Host: a\r\nX-A: b\r\n c\r\n${length}\r\n${close}`),
      'NUL in a header': post(`Host: a\r\nX-A: b\0c\r\n${length}`),
      'a blank before the colon': post(`Host: a\r\nX-A : b\r\n${length}`),
    };
    for (const [what, request] of Object.entries(requests))
      assert.match(await raw(request), /^HTTP\/1\.1 400 [\s\S]*"error":"invalid_request"/, what);
    assert.match(await raw(post(`Host: a\r\nX-A: ${'a'.repeat(9000)}`)), /^HTTP\/1\.1 431 /);
  });

  it('refuses bodies that say something twice, nest deep or are no object', async () => {
    const nested = `${'['.repeat(30_000)}${']'.repeat(30_000)}`;
    const bodies = {
      'a repeated field': `{"aud":"${AUDIENCE}","aud":"x"}`,
      'a repeated field, spelt otherwise': `{"aud":"${AUDIENCE}","\\u0061ud":"x"}`,
      'a prototype': `{"aud":"${AUDIENCE}","__proto__":{"a":1}}`,
      'a deep nest': `{"aud":${nested}}`,
      'a list': '["aud"]',
      'half of it': '{"aud":',
      'a repeated parameter': `aud=x&aud=${AUDIENCE}`,
    };
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded' };
    for (const [what, body] of Object.entries(bodies)) {
      const answer = await ask(place.socket, TOKENS, { method: 'POST', body, headers });
      assert.deepEqual([answer.status, answer.json().error], [400, 'invalid_request'], what);
    }
  });

  it('ends the connection of a body that is too large, told before or not', async () => {
    const large = 'x'.repeat(64 * 1024 + 1);
    const chunk = `${large.length.toString(16)}\r\n${large}\r\n`;
    for (const request of [
      post(`Host: a\r\nContent-Length: ${large.length}`, ''),
      post('Host: a\r\nTransfer-Encoding: chunked', chunk),
    ])
      assert.match(await raw(request), /^HTTP\/1\.1 413 [\s\S]*"error":"request_too_large"/);
  });

  it('answers no second request before the first', async () => {
    const request = post(`Host: a\r\n${length}`);
    const answers = await raw(request + request);
    assert.equal(answers.match(/^HTTP\/1\.1 200 /gm)?.length, 1);
    assert.equal(answers.match(/eyJ/g)?.length, 2);
    assert.match(answers, /HTTP\/1\.1 503 [\s\S]*Connection: close/);
  });

  it('lets no user have all connections', async (t) => {
    const sockets = Array.from({ length: MAX_OF_ONE_USER }, () => connect(place.socket));
    const giveBack = () => {
      for (const socket of sockets) socket.destroy();
    };
    defer(t, giveBack);
    await Promise.all(sockets.map(connected));
    await until(
      async () => (await askToken(place.socket, {}).catch(() => undefined)) === undefined,
      'the cap',
    );
    if (OWN_UID === 0) assert.match(curlAs(OTHER_UID, place), /^eyJ/);
    giveBack();
    await until(() => mint(place.socket, { aud: AUDIENCE }).catch(() => undefined), 'room again');
  });

  it('gives every user its own tokens, with an audit line that says who', async (t) => {
    if (isMissing(t, OWN_UID === 0, 'being another user takes root')) return;
    const from = server.lines().length;
    const token = curlAs(OTHER_UID, place);
    const issued = await server.line('issued', from);
    assert.deepEqual(
      [issued.jti, (issued.peer as { uid: number }).uid],
      [decode(token).claims.jti, OTHER_UID],
    );
    assert.throws(() => curlAs(OTHER_UID + 1, place), /access_denied/);
    const refused = await server.line('refused', from);
    assert.deepEqual([refused.code, (refused.peer as { uid: number }).uid], ['access_denied', OTHER_UID + 1]);
  });

  /** Runs an attacker's script; `send()` in it asks for a token. */
  function attack(t: TestContext, aud: string, script: string) {
    const body = JSON.stringify({ aud });
    const send = `call = request("${TOKENS}", "POST", "Content-Length: ${body.length}\\r\\n", '${body}')
def send(sock):
  sock.sendall(call)
  return reply(sock)
`;
    return startActor(t, send + script, place.socket).hear();
  }

  it('gives nothing to the child of a process that connected and ended', async (t) => {
    const answer = await attack(
      t,
      AUDIENCE,
      `sock = connect(sys.argv[1])
send(sock)
parent = os.getpid()
def child():
  while os.getppid() == parent: time.sleep(0.01)
  say(send(sock))
fork(child, orphan=True)
os._exit(0)`,
    );
    assert.match(answer, /^403 .*"peer_changed"/);
  });

  it('gives nothing to a process that became another user', async (t) => {
    if (isMissing(t, OWN_UID === 0, 'changing the user takes root')) return;
    const answer = await attack(
      t,
      AUDIENCE,
      `sock = connect(sys.argv[1])\nsend(sock)\ndrop(${OTHER_UID})\nsay(send(sock))`,
    );
    assert.match(answer, /^403 .*"peer_changed"/);
  });

  it('gives nothing to a process that became another program', async (t) => {
    const answer = await attack(
      t,
      BY_PATH,
      `sock = connect(sys.argv[1])
if send(sock).startswith("200 eyJ"): os.dup2(sock.fileno(), 9)
sock.setblocking(True)
os.environ["REQUEST"] = call.decode().replace("HTTP/1.1", "HTTP/1.0")
os.execv("/bin/sh", ["sh", "-c", 'printf %s "$REQUEST" >&9; tr "\\\\r\\\\n" "  " <&9; echo'])`,
    );
    assert.match(answer, / 403 .*"peer_changed"/);
  });
});

describe('socket.strictPeer', () => {
  it('refuses to start on a kernel without SO_PEERPIDFD, and leaves nothing behind', async (t) => {
    const place = await createPlace(t);
    const socket = { path: place.socket, strictPeer: true };
    writeConfig(place, { socket, keys: { store: { file: place.state } } });
    const wrapper = python('older.py');
    const server = launch(t, place, { wrapper });
    assert.equal(await server.ended, 1);
    assert.match(
      server.output(),
      /^mintmark: socket\.strictPeer is set, and this kernel has no SO_PEERPIDFD/m,
    );
    const checked = await mintmark(['check', '--config', place.config], { wrapper });
    assert.equal(checked.code, 0);
    assert.match(checked.stderr, /^warning: serve would not start here: socket\.strictPeer is set/m);
    assert.deepEqual([existsSync(place.state), readdirSync(join(place.socket, '..'))], [false, []]);
    await (await start(t, place)).stop();
    writeConfig(place);
    await start(t, place, { wrapper });
    await mint(place.socket, { aud: AUDIENCE });
  });
});

function connected(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('connect', resolve).once('error', reject);
  });
}

/** curl as another user; throws with the answer where it is refused. */
function curlAs(uid: number, { socket }: Place): string {
  const args = ['-sS', '--fail-with-body', '--unix-socket', socket, `http://localhost${TOKENS}`];
  try {
    return execFileSync('curl', [...args, '-d', JSON.stringify({ aud: OTHERS })], {
      uid,
      gid: uid,
      encoding: 'utf8',
      stdio: 'pipe',
    });
  } catch (error) {
    throw new Error(String((error as { stdout: string }).stdout));
  }
}
