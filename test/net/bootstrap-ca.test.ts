import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { IssuerError } from '../../src/core/errors.ts';
import type { KeyStore } from '../../src/core/key-ports.ts';
import { type BootstrapCa, openBootstrapCa } from '../../src/net/bootstrap-ca.ts';
import type { TlsPair } from '../../src/net/tls.ts';
import { open as openMemory } from '../../src/stores/memory.ts';
import { sealStore } from '../../src/stores/sealed.ts';
import { opensslVerify, scratch } from './openssl.ts';

const NOW = Math.floor(Date.now() / 1000);
const DAY = 86400;
const NAMES = ['localhost', 'id.internal', '127.0.0.1', '::1'];

const openAt = (store: KeyStore, now = NOW, names: readonly string[] = NAMES) =>
  openBootstrapCa(store, { document: 'bootstrap-ca', names, now: () => now });

const leafOf = (ca: BootstrapCa) => new X509Certificate(ca.current().cert);

async function serve(t: TestContext, pair: TlsPair): Promise<number> {
  const server = createServer(pair, (_, response) => response.end('hello'));
  t.after(() => server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** The error of the handshake, or undefined where the client is content. */
async function handshake(port: number, ca: string, servername: string): Promise<string | undefined> {
  const socket: TLSSocket = connect({ port, host: '127.0.0.1', ca, ...(servername ? { servername } : {}) });
  try {
    await once(socket, 'secureConnect');
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  } finally {
    socket.destroy();
  }
}

const refused = (code: string, detail: RegExp) => (error: unknown) => {
  assert.ok(error instanceof IssuerError, String(error));
  assert.equal(error.code, code);
  assert.match(error.detail, detail);
  return true;
};

const run = promisify(execFile);

suite('bootstrap CA', () => {
  test('node:tls trusts the server by its names, and only by them', async (t) => {
    const ca = await openAt(await openMemory());
    const port = await serve(t, ca.current());
    assert.equal(await handshake(port, ca.caPem, 'localhost'), undefined);
    assert.equal(await handshake(port, ca.caPem, 'id.internal'), undefined);
    assert.equal(await handshake(port, ca.caPem, ''), undefined, 'by its address');
    assert.equal(await handshake(port, ca.caPem, 'other.internal'), 'ERR_TLS_CERT_ALTNAME_INVALID');
    const other = await openAt(await openMemory());
    assert.equal(await handshake(port, other.caPem, 'localhost'), 'UNABLE_TO_VERIFY_LEAF_SIGNATURE');
  });

  test('curl trusts it', async (t) => {
    const ca = await openAt(await openMemory());
    const port = await serve(t, ca.current());
    const caFile = join(await scratch(t), 'ca.pem');
    await fs.writeFile(caFile, ca.caPem);
    const curl = (host: string) =>
      run('curl', [
        '-sS',
        '--noproxy',
        '*',
        '--cacert',
        caFile,
        '--resolve',
        `${host}:${port}:127.0.0.1`,
        `https://${host}:${port}/`,
      ]);
    for (const host of ['localhost', 'id.internal', '127.0.0.1'])
      assert.equal((await curl(host)).stdout, 'hello');
    await assert.rejects(curl('other.internal'), /SSL/);
  });

  test('openssl verifies it strictly, for each name', async (t) => {
    const ca = await openAt(await openMemory());
    const { cert } = ca.current();
    for (const name of ['localhost', 'id.internal']) {
      assert.match(
        await opensslVerify(t, ca.caPem, cert, '-purpose', 'sslserver', '-verify_hostname', name),
        /OK/,
      );
    }
    for (const address of ['127.0.0.1', '::1']) {
      assert.match(await opensslVerify(t, ca.caPem, cert, '-verify_ip', address), /OK/);
    }
    assert.match(await opensslVerify(t, ca.caPem, cert, '-verify_hostname', 'x.example'), /mismatch/i);
    assert.match(await opensslVerify(t, ca.caPem, cert, '-purpose', 'sslclient'), /purpose/);
  });

  test('openssl reads what it must say', async (t) => {
    const ca = await openAt(await openMemory());
    const directory = await scratch(t);
    const textOf = async (pem: Buffer | string) => {
      await fs.writeFile(join(directory, 'x.pem'), pem);
      return execFileSync('openssl', ['x509', '-noout', '-text', '-in', join(directory, 'x.pem')]).toString();
    };
    const caText = await textOf(ca.caPem);
    assert.match(caText, /Basic Constraints: critical\s+CA:TRUE, pathlen:0/);
    assert.match(caText, /Key Usage: critical\s+Certificate Sign, CRL Sign\n/);
    assert.match(caText, /Name Constraints: critical\s+Permitted:\s+IP:127\.0\.0\.1\/255\.255\.255\.255/);
    assert.match(caText, /DNS:id\.internal/);
    assert.match(caText, /ASN1 OID: prime256v1/);
    const text = await textOf(ca.current().cert);
    assert.match(text, /Basic Constraints: critical\s+CA:FALSE/);
    assert.match(text, /Key Usage: critical\s+Digital Signature\n/);
    assert.match(text, /Extended Key Usage:\s+TLS Web Server Authentication\n/);
    assert.match(text, /DNS:id\.internal, DNS:localhost/);
    const subjectKey = /Subject Key Identifier:\s+([0-9A-F:]{59})\n/.exec(caText)![1]!;
    assert.ok(new RegExp(`Authority Key Identifier:\\s+(keyid:)?${subjectKey}`).test(text));
  });

  test('the CA lasts ten years, the server 30 days, both from an hour ago', async () => {
    const ca = await openAt(await openMemory());
    const authority = new X509Certificate(ca.caPem);
    const leaf = leafOf(ca);
    const seconds = (date: string) => Date.parse(date) / 1000 - NOW;
    assert.deepEqual([authority.validFrom, authority.validTo].map(seconds), [-3600, 3652 * DAY]);
    assert.deepEqual([leaf.validFrom, leaf.validTo].map(seconds), [-3600, 30 * DAY]);
  });

  test('serial numbers are positive, of 16 bytes, and never the same', async () => {
    const ca = await openAt(await openMemory());
    const serials = new Set<string>();
    for (let round = 1; round <= 50; round++) {
      assert.ok(ca.renew(NOW + round * 16 * DAY));
      serials.add(leafOf(ca).serialNumber);
    }
    assert.equal(serials.size, 50);
    for (const serial of serials) assert.match(serial, /^[4-7][0-9A-F]{31}$/);
  });
});

suite('bootstrap CA: its life', () => {
  test('a restart finds the same CA, sealed too', async () => {
    const store = sealStore(await openMemory(), Buffer.alloc(32, 7), 'https://id.example.com');
    const first = await openAt(store);
    const second = await openAt(store, NOW + 100 * DAY);
    assert.equal(second.caPem, first.caPem);
    assert.ok(leafOf(second).verify(new X509Certificate(first.caPem).publicKey));
    assert.notEqual(leafOf(second).serialNumber, leafOf(first).serialNumber);
  });

  test('renews at half life, and not before', async (t) => {
    const ca = await openAt(await openMemory());
    const first = leafOf(ca).serialNumber;
    assert.equal(ca.renew(NOW), false);
    assert.equal(ca.renew(NOW + 15 * DAY - 1), false);
    assert.equal(leafOf(ca).serialNumber, first);
    assert.equal(ca.renew(NOW + 15 * DAY), true);
    assert.notEqual(leafOf(ca).serialNumber, first);
    assert.equal(Date.parse(leafOf(ca).validTo) / 1000, NOW + 45 * DAY);
    assert.equal(ca.renew(NOW + 15 * DAY), false);
    const at = String(NOW + 44 * DAY);
    assert.match(await opensslVerify(t, ca.caPem, ca.current().cert, '-attime', at), /OK/);
  });

  test('a clock that went back makes a certificate that is valid then', async () => {
    const ca = await openAt(await openMemory());
    assert.equal(ca.renew(NOW - 10 * DAY), true);
    assert.ok(Date.parse(leafOf(ca).validFrom) / 1000 < NOW - 10 * DAY);
    assert.equal(ca.renew(NOW - 10 * DAY + 1), false);
  });

  test('no server certificate outlives the CA, and an expired CA says so', async () => {
    const store = await openMemory();
    const ca = await openAt(store);
    const end = NOW + 3652 * DAY;
    assert.equal(ca.renew(end - 10 * DAY), true);
    assert.equal(Date.parse(leafOf(ca).validTo) / 1000, end);
    assert.equal(ca.renew(end - 5 * DAY), true);
    assert.throws(
      () => ca.renew(end),
      refused('server_error', /bootstrap CA expired on .*remove the document/),
    );
    await assert.rejects(openAt(store, end + 1), refused('server_error', /bootstrap CA expired/));
  });

  test('dates after 2049 are written as they must be', async (t) => {
    const now = Date.UTC(2045, 0, 1) / 1000;
    const ca = await openAt(await openMemory(), now);
    assert.equal(Date.parse(new X509Certificate(ca.caPem).validTo) / 1000, now + 3652 * DAY);
    assert.match(await opensslVerify(t, ca.caPem, ca.current().cert, '-attime', String(now)), /OK/);
  });

  test('of two that start at once both have the same CA', async () => {
    const store = await openMemory();
    const all = await Promise.all(Array.from({ length: 8 }, () => openAt(store)));
    for (const ca of all) {
      assert.equal(ca.caPem, all[0]!.caPem);
      assert.ok(leafOf(ca).verify(new X509Certificate(all[0]!.caPem).publicKey));
    }
  });

  test('fewer names, and names below, are within the CA; others need a new one', async () => {
    const store = await openMemory();
    const first = await openAt(store);
    const second = await openAt(store, NOW, ['id.internal', 'a.id.internal', '::0001']);
    assert.equal(second.caPem, first.caPem);
    assert.equal(
      leafOf(second).subjectAltName,
      'IP Address:0:0:0:0:0:0:0:1, DNS:a.id.internal, DNS:id.internal',
    );
    for (const name of ['other.internal', 'xid.internal', '127.0.0.2', '1.127.0.0.1']) {
      await assert.rejects(
        openAt(store, NOW, [...NAMES, name]),
        refused('server_error', /was made for .* and cannot vouch for .*every client/),
        name,
      );
    }
  });

  test('IPv6 in any spelling', async () => {
    const ca = await openAt(await openMemory(), NOW, ['::ffff:10.1.2.3', 'FE80:0::1']);
    assert.equal(leafOf(ca).checkIP('fe80::1'), 'fe80::1');
    assert.equal(leafOf(ca).checkIP('::ffff:10.1.2.3'), '::ffff:10.1.2.3');
  });

  test('names that are none are refused', async () => {
    for (const names of [
      [],
      [''],
      ['*.x'],
      ['A.b'],
      ['a b'],
      ['-a'],
      ['a..b'],
      ['a/b'],
      ['fe80::1%eth0'],
      ['ä.de'],
      ['a:1'],
    ]) {
      await assert.rejects(
        openAt(await openMemory(), NOW, names),
        refused('invalid_request', /tls\.bootstrap\.names/),
      );
    }
  });

  test('a foreign document is refused, and not replaced', async () => {
    const good = await openMemory();
    await openAt(good);
    const bytes = Buffer.from((await good.read('bootstrap-ca'))!.bytes);
    for (const wrong of [
      Buffer.alloc(0),
      Buffer.from('MMBOOT1'),
      bytes.subarray(0, -20),
      bytes.subarray(0, 60),
      Buffer.alloc(300, 'x'),
    ]) {
      const store = await openMemory();
      const version = await store.write('bootstrap-ca', wrong, undefined);
      await assert.rejects(
        openAt(store),
        refused('server_error', /bootstrap-ca of the key store holds no CA/),
      );
      assert.equal((await store.read('bootstrap-ca'))!.version, version);
    }
  });

  test('a store that fails is told, and no CA that is not stored is used', async () => {
    const failing: KeyStore = {
      ...(await openMemory()),
      write: async () => {
        throw new IssuerError('temporarily_unavailable', 'disk full');
      },
    };
    await assert.rejects(openAt(failing), refused('temporarily_unavailable', /disk full/));
  });
});
