/** Vultr's own Go client, with another base address and nothing else changed. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { suite, test } from 'node:test';
import { promisify } from 'node:util';
import { isMissing } from '../stores/requires.ts';
import { scopeOf } from '../system/suite.ts';
import { startVultr } from '../vultr/api.ts';
import { goProgram, hasProgram } from './cache.ts';

suite('govultr', () => {
  const scope = scopeOf();

  test('providers, discovery and issuers', async (t) => {
    if (isMissing(t, hasProgram('go'), 'there is no go')) return;
    const api = await startVultr(scope);
    const { n = '' } = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({
      format: 'jwk',
    });
    const env = { ...process.env, VULTR_API_KEY: api.key };
    const { stdout } = await promisify(execFile)(goProgram('govultr', 'govultr-client'), [api.issuer, n], {
      env,
    });
    const seen = JSON.parse(stdout);
    const { id } = seen.created;
    assert.equal(seen.created.name, 'go');
    assert.deepEqual(seen.shown, seen.created);
    assert.deepEqual(seen.listed, [seen.created]);
    assert.equal(seen.document.issuer, `${api.base}/provider/${id}`);
    assert.equal(seen.document.token_endpoint, `${api.base}/provider/${id}/token`);
    assert.ok(seen.document.scopes_supported.includes('openid'));
    const { source, uri, kid } = seen.issuer;
    assert.deepEqual(
      { source, uri, kid, n: seen.issuer.n },
      { source: 'external', uri: 'https://idp.example.com', kid: 'k1', n },
    );
    assert.equal(seen.own.source, 'managed');
    assert.equal(seen.issuers.length, 2);
    assert.match(seen.refused, /provider/);
    assert.match(seen.gone, /no such provider/);
  });
});
