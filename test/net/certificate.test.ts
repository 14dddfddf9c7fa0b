import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { suite, test } from 'node:test';
import { buildCertificate } from '../../src/net/certificate.ts';
import { opensslVerify } from './openssl.ts';

const NOW = Math.floor(Date.now() / 1000);
const DAY = 86400;

suite('certificates of our own making', () => {
  test('a stolen CA cannot vouch for other names', async (t) => {
    for (const [names, stolen] of [
      [['id.internal'], ['bank.example']],
      [['id.internal'], ['10.0.0.1']],
      [['id.internal'], ['::2']],
      [['10.0.0.1'], ['bank.example']],
      [['10.0.0.1'], ['10.0.0.2']],
      [['10.0.0.1'], ['::1']],
      [['::1'], ['::2']],
    ] as const) {
      const vouched = async (wanted: readonly string[]) => {
        const { caPem, cert } = vouchAnyway(names, wanted);
        return await opensslVerify(t, caPem, cert);
      };
      assert.match(await vouched(names), /OK/);
      assert.match(
        await vouched(stolen),
        /permitted subtree violation|excluded subtree violation/,
        String(stolen),
      );
    }
  });
});

/** What one can make who holds the key of a CA that was made for `permitted`. */
function vouchAnyway(permitted: readonly string[], wanted: readonly string[]) {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const common = {
    publicKey,
    issuer: 'CA',
    issuerPublicKey: publicKey,
    issuerPrivateKey: privateKey,
    notBefore: NOW - 60,
    notAfter: NOW + DAY,
  };
  const ca = buildCertificate({ ...common, subject: 'CA', role: 'ca', names: permitted });
  const leaf = buildCertificate({ ...common, subject: 'Server', role: 'server', names: wanted });
  return { caPem: ca.toString(), cert: leaf.toString() };
}
