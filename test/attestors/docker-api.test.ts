import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openDockerApi } from '../../src/attestors/docker-api.ts';
import type { IssuerError } from '../../src/core/errors.ts';
import { createDirectory } from '../attack/server.ts';
import { containerVector, documents, imageVector, startDocker } from '../fakes/docker.ts';

const container = containerVector();
const image = imageVector();
const ID: string = container.Id;
const OTHER = 'f'.repeat(64);

async function open(t: TestContext, handler: RequestListener, timeoutSeconds = 5) {
  const { socket, asked } = await startDocker(t, handler);
  const clock = { now: 0 };
  const api = openDockerApi({ socket, timeoutSeconds, elapsed: () => clock.now });
  t.after(() => api.close());
  return { api, asked, clock };
}

const fixed =
  (status: number, body: string): RequestListener =>
  (_, response) => {
    response.writeHead(status).end(body);
  };

test("Docker's own answers are understood", async (t) => {
  const paths = { [`/containers/${ID}/json`]: container, [`/images/${container.Image}/json`]: image };
  const { api } = await open(t, documents(paths));
  const found = await api.container(ID);
  assert.deepEqual(
    { ...found, labels: Object.keys(found?.labels ?? {}).length },
    {
      id: ID,
      name: 'shop_web_1',
      imageId: container.Image,
      image: '127.0.0.1:5055/shop/web:1.2',
      isRunning: true,
      pid: container.State.Pid,
      labels: Object.keys(container.Config.Labels).length,
    },
  );
  assert.deepEqual((await api.image(container.Image))?.repoDigests, image.RepoDigests);
  assert.equal((await api.image(container.Image))?.labels.from, 'image');
});

test('one question at a time, and its answer for some seconds', async (t) => {
  const { api, asked, clock } = await open(t, documents({ [`/containers/${ID}/json`]: container }));
  await Promise.all(Array.from({ length: 100 }, () => api.container(ID)));
  assert.equal(asked.length, 1);
  clock.now = 4.9;
  await api.container(ID);
  assert.equal(asked.length, 1);
  await api.container(ID, true);
  assert.equal(asked.length, 2, 'a fresh answer is asked for');
  clock.now = 10;
  await Promise.all([api.container(ID), api.container(ID, true)]);
  assert.equal(asked.length, 3, 'what is being asked is fresh');
});

test('that there is none is not remembered', async (t) => {
  const { api, asked } = await open(t, documents({}));
  assert.equal(await api.container(ID), undefined);
  assert.equal(await api.container(ID), undefined);
  assert.equal(await api.image(container.Image), undefined);
  assert.equal(asked.length, 3);
});

test('an answer about another container than the one asked about counts for none', async (t) => {
  const { api } = await open(t, documents({ [`/containers/${OTHER}/json`]: container }));
  assert.equal(await api.container(OTHER), undefined);
});

test('a container that is stopped, restarted or not yet started is not running', async (t) => {
  const states: unknown[] = [
    { Running: false, Pid: 0 },
    { Running: true, Pid: 0 },
    { Running: true, Restarting: true, Pid: 7 },
  ];
  const { api } = await open(t, (_, response) => {
    response.end(JSON.stringify({ ...container, State: states.shift() }));
  });
  while (states.length > 0) assert.equal((await api.container(ID, true))?.isRunning, false);
});

test('a fault of Docker is a fault for the moment, and its answer is not in the message', async (t) => {
  const secret = 'PASSWORD=hunter2';
  const broken: RequestListener[] = [
    fixed(500, '{"message":"boom"}'),
    fixed(403, 'forbidden by a proxy'),
    fixed(301, ''),
    fixed(200, ''),
    fixed(200, `{"Id": "${secret}`),
    fixed(200, 'null'),
    fixed(200, '[]'),
    fixed(200, JSON.stringify({ ...container, State: null, Config: { Env: [secret] } })),
    fixed(200, JSON.stringify({ ...container, State: { Running: 'true', Pid: 1 } })),
    fixed(200, JSON.stringify({ ...container, State: { Running: true, Pid: -1 } })),
    fixed(200, JSON.stringify({ ...container, Image: 'web:latest' })),
    fixed(200, JSON.stringify({ ...container, Config: { Image: 'web', Labels: { a: 1 } } })),
    (_, response) => {
      response.writeHead(200, { 'Content-Length': 10_000 }).write(JSON.stringify(container).slice(0, 100));
      setTimeout(() => response.destroy(), 20);
    },
    (_, response) => {
      response.writeHead(200);
      const flood = () => {
        while (!response.destroyed && response.write('x'.repeat(65_536)));
      };
      response.on('drain', flood);
      flood();
    },
    (request) => {
      request.socket.destroy();
    },
    () => undefined, // no answer at all
  ];
  for (const handler of broken) {
    const { api } = await open(t, handler, 0.5);
    await assert.rejects(api.container(ID), (error: IssuerError) => {
      assert.equal(error.code, 'temporarily_unavailable');
      assert.equal(error.retryAfterSeconds, 1);
      assert.doesNotMatch(`${error.detail} ${error.cause ?? ''}`, /hunter2/);
      return true;
    });
  }
});

test('a fault is not remembered', async (t) => {
  let isBroken = true;
  const { api } = await open(t, (_, response) => {
    response.writeHead(isBroken ? 500 : 200).end(JSON.stringify(container));
  });
  await assert.rejects(api.container(ID));
  isBroken = false;
  assert.equal((await api.container(ID))?.id, ID);
});

test('a socket that is not there, or may not be opened, is named', async (t) => {
  const directory = createDirectory(t);
  const file = join(directory, 'file');
  writeFileSync(file, '');
  chmodSync(file, 0o600);
  for (const [socket, code] of [
    [join(directory, 'none.sock'), 'ENOENT'],
    [file, 'ECONNREFUSED'],
  ] as const) {
    const api = openDockerApi({ socket, timeoutSeconds: 1, elapsed: () => 0 });
    await assert.rejects(api.container(ID), {
      code: 'temporarily_unavailable',
      detail: `Docker (${socket}) does not answer: ${code}`,
    });
    api.close();
  }
});
