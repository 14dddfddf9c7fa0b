import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { open } from '../../src/doors/status.ts';
import { serve } from '../fakes/http.ts';

suite('the status listener', () => {
  test('is ready when nothing keeps a token from being minted, and says what does', async (t) => {
    const reasons = ['no RS256 key signs yet'];
    const door = open(
      { metrics: async () => ({ contentType: 'x', text: '' }), notReady: () => reasons },
      'status',
    );
    const { ask } = await serve(t, door, { peerOf: () => undefined });
    const waiting = await ask('/readyz');
    assert.equal(waiting.status, 503);
    assert.deepEqual(JSON.parse(waiting.text), { status: 'not ready', reasons: ['no RS256 key signs yet'] });
    assert.equal((await ask('/livez')).status, 200);
    reasons.pop();
    const ready = await ask('/readyz');
    assert.equal(`${ready.status} ${ready.text}`, '200 {"status":"ok"}');
  });

  test("gives the metrics in Prometheus' form", async (t) => {
    const contentType = 'text/plain; version=0.0.4; charset=utf-8';
    const door = open(
      { metrics: async () => ({ contentType, text: 'up 1\n' }), notReady: () => [] },
      'status',
    );
    const { ask } = await serve(t, door, { peerOf: () => undefined });
    const { status, headers, text } = await ask('/metrics');
    assert.deepEqual([status, headers['content-type'], text], [200, contentType, 'up 1\n']);
    assert.equal((await ask('/metrics', { method: 'POST' })).status, 405);
  });

  test('metrics that fail are a fault of the server', async (t) => {
    const metrics = () => Promise.reject(new Error('SECRET'));
    const { ask, recorder } = await serve(t, open({ metrics, notReady: () => [] }, 'status'));
    const { status, text } = await ask('/metrics');
    assert.equal(status, 500);
    assert.doesNotMatch(text, /SECRET/);
    assert.equal(recorder.refusals[0]?.code, 'server_error');
  });
});
