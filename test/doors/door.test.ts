import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { ERROR_SENTENCES, type ErrorCode, IssuerError } from '../../src/core/errors.ts';
import { readBody } from '../../src/doors/body.ts';
import { type Door, ERROR_STATUS, type Route, type Surface } from '../../src/doors/door.ts';
import { refusal } from '../conformance/key-store.ts';
import { serve } from '../fakes/http.ts';

function doorOf(
  handle: Route['handle'],
  surface: Surface = 'workload',
  method: Route['method'] = 'POST',
): Door {
  return { name: 'test', surface, routes: [{ method, path: '/x', operation: { summary: 'X' }, handle }] };
}

const ok = doorOf((context) => {
  context.body = { ok: true };
});

function throwing(error: unknown, surface?: Surface): Door {
  return doorOf(() => {
    throw error;
  }, surface);
}

suite('the frame around the doors', () => {
  test('finds the route by its exact path', async (t) => {
    const { ask, recorder } = await serve(t, ok);
    assert.equal((await ask('/x?y=1', { method: 'POST' })).status, 200);
    for (const path of ['/', '/x/', '/X', '//x', '/%78', '/x%00', '/../x', '/x;a', '/constructor']) {
      const { status, text } = await ask(path, { method: 'POST' });
      assert.equal(status, 404, path);
      assert.equal(JSON.parse(text).error, 'not_found');
    }
    assert.equal(recorder.refusals[0]?.door, 'workload');
  });

  test('a target that is no URL is an invalid request, for the caller and for the log', async (t) => {
    for (const surface of ['workload', 'public'] as const) {
      const { sendRaw, recorder } = await serve(t, doorOf(ok.routes[0]!.handle, surface));
      for (const target of ['http://[', 'http://a:b:c/', 'http://a:99999/', 'http://%5b]/x', 'x://[::']) {
        const answer = await sendRaw(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
        assert.match(
          answer,
          /^HTTP\/1\.1 40[04] [\s\S]*\r\n\r\n\{"error":"(?:invalid_request|not_found)"/,
          target,
        );
      }
      const told = recorder.refusals.filter(({ code }) => code === 'invalid_request');
      assert.equal(told[0]?.detail, surface === 'workload' ? 'the request target is no URL' : undefined);
      assert.equal(recorder.refusals.filter(({ code }) => code === 'server_error').length, 0);
    }
    const { sendRaw } = await serve(t, ok);
    assert.match(
      await sendRaw('HEAD http://[ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'),
      /^HTTP\/1\.1 400 [^{]*$/,
    );
  });

  test('refuses other methods and names those that there are', async (t) => {
    const { ask } = await serve(t, [ok, doorOf(() => undefined, 'workload', 'GET')]);
    for (const method of ['PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE']) {
      const { status, headers } = await ask('/x', { method });
      assert.equal(status, 405, method);
      assert.equal(headers.allow, 'POST, GET, HEAD');
    }
    const posting = await serve(t, ok);
    for (const method of ['GET', 'HEAD']) {
      const { status, headers } = await posting.ask('/x', { method });
      assert.equal(`${status} ${headers.allow}`, '405 POST');
    }
  });

  test('refuses a body that says to be encoded, on every surface, and says what is taken', async (t) => {
    for (const surface of ['workload', 'admin', 'public', 'private'] as const) {
      const { ask } = await serve(t, doorOf(ok.routes[0]!.handle, surface));
      const post = (coding: string) =>
        ask('/x', { method: 'POST', headers: { 'Content-Encoding': coding }, body: '{}' });
      for (const coding of ['gzip', 'GZIP', 'identity, gzip', 'x', 'br']) {
        const { status, headers, text } = await post(coding);
        assert.deepEqual([status, headers['accept-encoding']], [415, 'identity'], coding);
        assert.equal(JSON.parse(text).error, 'unsupported_encoding');
      }
      for (const coding of ['identity', ' Identity ', '']) assert.equal((await post(coding)).status, 200);
    }
    const { ask } = await serve(t, ok);
    for (const [coding, status] of [
      ['gzip, chunked', 400],
      ['Chunked', 200],
    ] as const) {
      const answer = await ask('/x', {
        method: 'POST',
        headers: { 'Transfer-Encoding': coding },
        body: '{}',
      });
      assert.equal(answer.status, status, coding);
      if (status !== 200) assert.equal(JSON.parse(answer.text).error, 'invalid_request');
    }
    const reading = await serve(t, doorOf(ok.routes[0]!.handle, 'public', 'GET'));
    assert.equal((await reading.ask('/x', { headers: { 'Content-Encoding': 'gzip' } })).status, 200);
  });

  test('refuses what came through a proxy or a browser, on the local sockets only', async (t) => {
    const headers = {
      Origin: 'null',
      Via: '1.1 x',
      Forwarded: 'for=1.2.3.4',
      'X-Forwarded-For': '1.2.3.4',
      'X-Forwarded-Host': 'x',
      'X-Forwarded-Proto': 'https',
      'x-forwarded-port': '443',
      'X-FORWARDED-PREFIX': '',
    };
    for (const surface of ['workload', 'admin', 'public', 'status'] as const) {
      const { ask } = await serve(t, doorOf(ok.routes[0]!.handle, surface));
      for (const [name, value] of Object.entries(headers)) {
        const { status, text } = await ask('/x', { method: 'POST', headers: { [name]: value } });
        const isLocal = surface === 'workload' || surface === 'admin';
        assert.equal(status, isLocal ? 400 : 200, `${surface} ${name}`);
        if (isLocal) assert.equal(JSON.parse(text).error, 'forwarded_request');
      }
    }
  });

  test('answers each code with its status and its fixed sentence; the detail is for the log', async (t) => {
    for (const code of Object.keys(ERROR_SENTENCES) as ErrorCode[]) {
      const error = new IssuerError(code, 'SECRET detail', { cause: new Error('SECRET cause') });
      const { ask, recorder } = await serve(t, throwing(error));
      const { status, headers, text } = await ask('/x', { method: 'POST' });
      assert.equal(status, ERROR_STATUS[code]);
      const word = code === 'single_audience' ? 'invalid_target' : code;
      assert.deepEqual(JSON.parse(text), { error: word, error_description: ERROR_SENTENCES[code] });
      assert.equal(headers['cache-control'], 'no-store');
      assert.deepEqual(recorder.refusals, [
        {
          door: 'test',
          peer: recorder.refusals[0]!.peer,
          code,
          detail: 'SECRET detail',
          audience: [],
          workload: undefined,
          caller: undefined,
          cause: error.cause,
        },
      ]);
    }
  });

  test('adds what the error lets the caller see, and when to come back', async (t) => {
    const options = { shown: { reason: 'not yet' }, retryAfterSeconds: 7 };
    const { ask } = await serve(t, throwing(new IssuerError('key_not_ready', 'detail', options)));
    const { headers, text } = await ask('/x', { method: 'POST' });
    assert.equal(JSON.parse(text).reason, 'not yet');
    assert.equal(headers['retry-after'], '7');
  });

  test('an unexpected fault is a server_error without a word about it', async (t) => {
    for (const thrown of [
      new TypeError('SECRET'),
      'SECRET',
      undefined,
      { status: 418, expose: true, message: 'SECRET' },
    ]) {
      const { ask, recorder } = await serve(t, throwing(thrown));
      const { status, text } = await ask('/x', { method: 'POST' });
      assert.equal(status, 500);
      assert.doesNotMatch(text, /SECRET|at /);
      assert.equal(recorder.refusals[0]?.cause, thrown);
    }
  });

  test('a door may have its own statuses', async (t) => {
    const errorStatus = { ...ERROR_STATUS, access_denied: 400 };
    const { ask } = await serve(t, { ...throwing(new IssuerError('access_denied', 'x')), errorStatus });
    assert.equal((await ask('/x', { method: 'POST' })).status, 400);
  });

  test('a recorder that fails costs the answer, not the process', async (t) => {
    const refused = () => {
      throw new Error('SECRET disk full');
    };
    const recorder = { refused, issued: refused };
    const { ask } = await serve(t, throwing(new IssuerError('conflict', 'x')), { recorder });
    const { status, text } = await ask('/x', { method: 'POST' });
    assert.equal(status, 500);
    assert.doesNotMatch(text, /SECRET/);
    assert.equal((await ask('/openapi.json')).status, 200);
  });

  test('a peer that cannot be told does not hide the error', async (t) => {
    const peerOf = () => {
      throw new IssuerError('peer_unproven', 'no pid');
    };
    const { ask, recorder } = await serve(t, throwing(new IssuerError('conflict', 'x')), { peerOf });
    assert.equal((await ask('/x', { method: 'POST' })).status, 409);
    assert.equal(recorder.refusals[0]?.peer, undefined);
  });

  test('what the internet tries on the open listeners is not recorded, our own faults are', async (t) => {
    for (const surface of ['public', 'status'] as const) {
      const { ask, recorder } = await serve(t, throwing(new Error('x'), surface), {
        peerOf: () => undefined,
      });
      await ask('/wp-login.php');
      await ask('/x');
      assert.deepEqual(recorder.refusals, []);
      await ask('/x', { method: 'POST' });
      assert.equal(recorder.refusals.length, 1);
    }
  });

  test('serves only the doors of its surface, and describes them', async (t) => {
    const other = { ...doorOf(() => undefined, 'admin'), name: 'other' };
    const { ask } = await serve(t, [ok, { ...other, routes: [{ ...other.routes[0]!, path: '/admin' }] }]);
    assert.equal((await ask('/admin', { method: 'POST' })).status, 404);
    const document = JSON.parse((await ask('/openapi.json')).text);
    assert.equal(document.openapi, '3.1.0');
    assert.deepEqual(document.paths, { '/x': { post: { summary: 'X' } } });
  });

  test('a caller that hangs up in the middle of a body harms nobody', async (t) => {
    const thrown = Promise.withResolvers<unknown>();
    const reading = doorOf(async (context) => {
      await readBody(context.req).catch((error) => {
        thrown.resolve(error);
        throw error;
      });
    });
    const { ask, hangUp } = await serve(t, reading);
    await hangUp('POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345');
    refusal('invalid_request', /broke off/)(await thrown.promise);
    assert.equal((await ask('/openapi.json')).status, 200);
  });
});
