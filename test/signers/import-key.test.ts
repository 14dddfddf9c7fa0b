import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  X509Certificate,
} from 'node:crypto';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import fc from 'fast-check';
import { IssuerError } from '../../src/core/errors.ts';
import { parseKeyFile } from '../../src/signers/import-key.ts';

const scratch = fs.mkdtempSync(join(tmpdir(), 'mintmark-import-'));
after(() => fs.rmSync(scratch, { recursive: true, force: true }));

const openssl = (...args: string[]): Buffer => execFileSync('openssl', args, { cwd: scratch, stdio: 'pipe' });
const file = (name: string): Buffer => fs.readFileSync(join(scratch, name));
const spki = (key: KeyObject) => createPublicKey(key).export({ type: 'spki', format: 'pem' });

/** Kinds of key as openssl makes them, and what they can sign with. */
const KINDS = {
  'rsa-2048': { make: ['RSA', 'rsa_keygen_bits:2048'], algorithms: ['RS256', 'PS256'] },
  'p-256': { make: ['EC', 'ec_paramgen_curve:P-256'], algorithms: ['ES256'] },
  'p-384': { make: ['EC', 'ec_paramgen_curve:P-384'], algorithms: ['ES384'] },
  ed25519: { make: ['ED25519'], algorithms: ['EdDSA'] },
} as const;

/** Makes NAME.pem (PKCS#8) and NAME.crt. */
function makeKey(name: string, [algorithm, option]: readonly [string, string?]): void {
  const options = option ? ['-pkeyopt', option] : [];
  openssl('genpkey', '-algorithm', algorithm, ...options, '-out', `${name}.pem`);
  openssl(
    'req',
    '-x509',
    '-key',
    `${name}.pem`,
    '-subj',
    `/CN=${name}`,
    '-days',
    '30',
    '-out',
    `${name}.crt`,
  );
}
for (const [name, { make }] of Object.entries(KINDS)) makeKey(name, make);

function exportPkcs12(name: string, out: string, passphrase: string, ...options: string[]): Buffer {
  const pair = ['-inkey', `${name}.pem`, '-in', `${name}.crt`];
  openssl('pkcs12', '-export', ...pair, '-passout', `pass:${passphrase}`, '-out', out, ...options);
  return file(out);
}

async function assertParsed(bytes: Buffer, name: string, passphrase?: string): Promise<void> {
  const before = Buffer.from(bytes);
  const parsed = await parseKeyFile(bytes, passphrase === undefined ? undefined : Buffer.from(passphrase));
  assert.equal(parsed.privateKey.type, 'private');
  assert.equal(
    spki(parsed.privateKey),
    new X509Certificate(file(`${name}.crt`)).publicKey.export({ type: 'spki', format: 'pem' }),
  );
  const kind = KINDS[name as keyof typeof KINDS];
  if (kind) assert.deepEqual(parsed.algorithms, kind.algorithms);
  assert.deepEqual(bytes, before, 'the caller owns its bytes');
}

const refused = (detail: RegExp) => (error: unknown) => {
  assert.ok(error instanceof IssuerError, `not an IssuerError: ${error}`);
  assert.equal(error.code, 'invalid_request');
  assert.match(error.detail, detail);
  return true;
};

suite('key files in PEM', () => {
  for (const name of Object.keys(KINDS)) {
    test(`${name}: PKCS#8, plain and encrypted`, async () => {
      await assertParsed(file(`${name}.pem`), name);
      await assertParsed(file(`${name}.pem`), name, 'needless');
      openssl('pkcs8', '-topk8', '-in', `${name}.pem`, '-passout', 'pass:sesame', '-out', `${name}.enc.pem`);
      const encrypted = file(`${name}.enc.pem`);
      await assertParsed(encrypted, name, 'sesame');
      await assert.rejects(parseKeyFile(encrypted), refused(/encrypted: its passphrase is needed/));
      await assert.rejects(parseKeyFile(encrypted, Buffer.from('wrong')), refused(/passphrase is wrong/));
      await assert.rejects(parseKeyFile(encrypted, Buffer.alloc(0)), refused(/passphrase is wrong/));
    });
  }

  test('PKCS#1 and SEC 1, plain and encrypted in the old way', async () => {
    for (const name of ['rsa-2048', 'p-256', 'p-384']) {
      const command = name.startsWith('rsa') ? ['rsa', '-traditional'] : ['ec'];
      openssl(...command, '-in', `${name}.pem`, '-out', 'traditional.pem');
      assert.match(file('traditional.pem').toString(), /BEGIN (RSA|EC) PRIVATE/);
      await assertParsed(file('traditional.pem'), name);
      openssl(...command, '-in', `${name}.pem`, '-aes128', '-passout', 'pass:sesame', '-out', 'old.pem');
      assert.match(file('old.pem').toString(), /Proc-Type: 4,ENCRYPTED/);
      await assertParsed(file('old.pem'), name, 'sesame');
      await assert.rejects(parseKeyFile(file('old.pem')), refused(/passphrase is needed/));
      await assert.rejects(parseKeyFile(file('old.pem'), Buffer.from('no')), refused(/passphrase is wrong/));
    }
  });

  test('with EC PARAMETERS, certificates or words before it, and CRLF', async () => {
    openssl('ecparam', '-name', 'prime256v1', '-genkey', '-out', 'ecparam.pem');
    assert.match(file('ecparam.pem').toString(), /^-----BEGIN EC PARAMETERS/);
    assert.deepEqual((await parseKeyFile(file('ecparam.pem'))).algorithms, ['ES256']);
    const bundle = Buffer.concat([
      Buffer.from('words\n'),
      file('p-256.crt'),
      file('p-256.pem'),
      file('rsa-2048.crt'),
    ]);
    await assertParsed(bundle, 'p-256');
    await assertParsed(Buffer.from(file('p-256.pem').toString().replaceAll('\n', '\r\n')), 'p-256');
  });

  test('none or several private keys are refused', async () => {
    for (const bytes of [
      file('p-256.crt'),
      Buffer.alloc(0),
      Buffer.from(spki(createPrivateKey(file('p-256.pem')))),
    ]) {
      await assert.rejects(parseKeyFile(bytes), refused(/holds no private key/));
    }
    const two = Buffer.concat([file('p-256.pem'), file('p-384.pem')]);
    await assert.rejects(parseKeyFile(two), refused(/more than one private key/));
  });

  test('a format that is another is named', async () => {
    const jwk = JSON.stringify(createPrivateKey(file('p-256.pem')).export({ format: 'jwk' }));
    await assert.rejects(parseKeyFile(Buffer.from(jwk)), refused(/no private key in PEM and is no PKCS#12/));
    const der = createPrivateKey(file('p-256.pem')).export({ type: 'pkcs8', format: 'der' });
    await assert.rejects(parseKeyFile(der), refused(/no private key in PEM and is no PKCS#12/));
    const ssh = '-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n';
    await assert.rejects(parseKeyFile(Buffer.from(ssh)), refused(/ssh-keygen -p -m PKCS8/));
    await assert.rejects(parseKeyFile(Buffer.alloc(1024 * 1024 + 1, 'x')), refused(/too large/));
  });
});

suite('keys of other kinds are refused by their name', () => {
  const OTHERS = {
    'rsa 1024 bits': ['rsa', { modulusLength: 1024 }],
    'rsa 2047 bits': ['rsa', { modulusLength: 2047 }],
    'rsa-pss': ['rsa-pss', { modulusLength: 2048 }],
    'ec secp521r1': ['ec', { namedCurve: 'P-521' }],
    'ec secp256k1': ['ec', { namedCurve: 'secp256k1' }],
    'ec brainpoolP256r1': ['ec', { namedCurve: 'brainpoolP256r1', paramEncoding: 'explicit' }],
    ed448: ['ed448', {}],
    x25519: ['x25519', {}],
    dsa: ['dsa', { modulusLength: 2048, divisorLength: 256 }],
  } as const;
  for (const [name, [type, options]] of Object.entries(OTHERS)) {
    test(name, async () => {
      const { privateKey } = generateKeyPairSync(type as 'rsa', options as { modulusLength: number });
      const pem = Buffer.from(privateKey.export({ type: 'pkcs8', format: 'pem' }));
      await assert.rejects(parseKeyFile(pem), refused(new RegExp(`of the kind ${name}: RSA from 2048`)));
    });
  }
});

suite('key files in PKCS#12', () => {
  for (const name of Object.keys(KINDS)) {
    test(`${name}: as openssl makes it today (PBES2)`, async () => {
      const bytes = exportPkcs12(name, 'modern.p12', 'sesame');
      await assertParsed(bytes, name, 'sesame');
      await assert.rejects(parseKeyFile(bytes, Buffer.from('wrong')), refused(/passphrase is wrong/));
      await assert.rejects(parseKeyFile(bytes), refused(/passphrase is wrong/));
    });

    test(`${name}: as it was made before (RC2 and 3DES)`, async () => {
      const bytes = exportPkcs12(name, 'legacy.p12', 'sesame', '-legacy');
      await assertParsed(bytes, name, 'sesame');
      await assert.rejects(parseKeyFile(bytes, Buffer.from('wrong')), refused(/passphrase is wrong/));
    });
  }

  test('passphrases beyond ASCII, with and without -legacy', async () => {
    for (const options of [[], ['-legacy']]) {
      await assertParsed(
        exportPkcs12('p-256', 'words.p12', 'schlüssel 鍵 🔑', ...options),
        'p-256',
        'schlüssel 鍵 🔑',
      );
    }
  });

  test('an empty passphrase, and none at all', async () => {
    const bytes = exportPkcs12('p-256', 'empty.p12', '');
    await assertParsed(bytes, 'p-256', '');
    await assertParsed(bytes, 'p-256');
    await assertParsed(exportPkcs12('p-256', 'open.p12', '', '-keypbe', 'NONE', '-certpbe', 'NONE'), 'p-256');
  });

  test('without a MAC, with a chain, with a name', async () => {
    await assertParsed(exportPkcs12('p-256', 'nomac.p12', 'sesame', '-nomac'), 'p-256', 'sesame');
    const options = ['-certfile', 'rsa-2048.crt', '-name', 'signing key', '-caname', 'ca'];
    await assertParsed(exportPkcs12('p-256', 'chain.p12', 'sesame', ...options), 'p-256', 'sesame');
  });

  test('BER of indefinite length, as some programs write it', async () => {
    const der = exportPkcs12('p-256', 'der.p12', 'sesame');
    const headerBytes = 2 + (der[1]! - 0x80);
    const ber = Buffer.concat([Buffer.of(0x30, 0x80), der.subarray(headerBytes), Buffer.of(0, 0)]);
    await assertParsed(ber, 'p-256', 'sesame');
  });

  test('a cipher that is no longer there is refused with the reason', async () => {
    const bytes = exportPkcs12('p-256', 'rc2.p12', 'sesame', '-legacy', '-keypbe', 'PBE-SHA1-RC2-40');
    await assert.rejects(parseKeyFile(bytes, Buffer.from('sesame')), refused(/no longer has/));
  });

  test('one without a key is refused', async () => {
    openssl('pkcs12', '-export', '-nokeys', '-in', 'p-256.crt', '-passout', 'pass:x', '-out', 'nokey.p12');
    await assert.rejects(parseKeyFile(file('nokey.p12'), Buffer.from('x')), refused(/without a private key/));
  });

  test('cut off anywhere, it is refused', async () => {
    const bytes = exportPkcs12('p-256', 'cut.p12', 'sesame');
    for (let length = 0; length < bytes.length; length += 7) {
      await assert.rejects(parseKeyFile(bytes.subarray(0, length), Buffer.from('sesame')), refused(/./));
    }
  });
});

suite('key files that are damaged', () => {
  test('a key whose halves differ is refused', async () => {
    const one = createPrivateKey(file('p-256.pem')).export({ type: 'sec1', format: 'der' });
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
      type: 'sec1',
      format: 'der',
    });
    const mixed = Buffer.concat([one.subarray(0, 40), other.subarray(40)]);
    const pem = `-----BEGIN EC PRIVATE KEY-----\n${mixed.toString('base64')}\n-----END EC PRIVATE KEY-----\n`;
    await assert.rejects(parseKeyFile(Buffer.from(pem)), refused(/damaged/));
  });

  test('an RSA key with a changed number is refused, whichever it is', async () => {
    const der = createPrivateKey(file('rsa-2048.pem')).export({ type: 'pkcs1', format: 'der' });
    for (let at = 40; at < der.length; at += 97) {
      const changed = Buffer.from(der);
      changed[at]! ^= 4;
      const pem = `-----BEGIN RSA PRIVATE KEY-----\n${changed.toString('base64')}\n-----END RSA PRIVATE KEY-----\n`;
      const outcome = await parseKeyFile(Buffer.from(pem)).then(
        ({ privateKey }) => spki(privateKey) === spki(createPrivateKey(file('rsa-2048.pem'))),
        (error) => refused(/./)(error),
      );
      assert.ok(outcome, `byte ${at}`);
    }
  });

  test('any bytes are refused, never a crash', async () => {
    const openings = [
      Buffer.alloc(0),
      Buffer.of(0x30, 0x80, 2, 1, 3),
      Buffer.of(0x30, 0x82, 1, 0, 2, 1, 3, 0x30),
      Buffer.from('-----BEGIN PRIVATE KEY-----\n'),
      Buffer.from('-----BEGIN ENCRYPTED PRIVATE KEY-----\n'),
      exportPkcs12('p-256', 'fuzz.p12', 'sesame').subarray(0, 60),
    ];
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...openings),
        fc.uint8Array({ maxLength: 300 }),
        fc.option(fc.uint8Array({ maxLength: 20 }), { nil: undefined }),
        async (opening, random, passphrase) => {
          const bytes = Buffer.concat([opening, random]);
          await assert.rejects(
            parseKeyFile(bytes, passphrase && Buffer.from(passphrase)),
            refused(/^the key file /),
          );
        },
      ),
      { numRuns: 500 },
    );
  });

  test('deep nesting is refused', async () => {
    const deep = Buffer.concat([
      Buffer.of(0x30, 0x80, 2, 1, 3),
      Buffer.alloc(200_000, Buffer.of(0x30, 0x80)),
    ]);
    await assert.rejects(parseKeyFile(deep), refused(/damaged or cut off/));
  });

  test('no refusal shows what the file holds', async () => {
    const pem = file('p-256.pem').toString();
    const middle = pem.slice(60, 100);
    const broken = Buffer.from(pem.replace(pem.slice(100, 104), '!!!!'));
    await assert.rejects(parseKeyFile(broken), (error: Error) => {
      const told = `${error.message} ${error.stack} ${(error.cause as Error | undefined)?.message}`;
      return refused(/damaged/)(error) && !told.includes(middle);
    });
  });
});
