/** Every listener keeps to the OpenAPI document that it serves, whatever it is sent: schemathesis finds out. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { configure, iamSettings } from '../aws-sso-oidc/server.ts';
import { hasProgram, pythonPrograms } from '../clients/cache.ts';
import { isMissing } from '../stores/requires.ts';
import { ask } from '../system/ask.ts';
import {
  createPlace,
  defer,
  mintmark,
  ruleFor,
  type Scope,
  type Server,
  start,
  writeConfig,
} from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';

const CONFIG = fileURLToPath(new URL('../clients/python/schemathesis.toml', import.meta.url));
const EXAMPLES = '100';

/** Tools that speak TCP reach a UNIX socket by it; resolves to its origin. */
async function forward(scope: Scope, socketPath: string): Promise<string> {
  const server = createServer((inner) => {
    const outer = connect(socketPath);
    inner.pipe(outer).pipe(inner);
    inner.on('error', () => outer.destroy());
    outer.on('error', () => inner.destroySoon()); // an answer may be on its way still
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  defer(scope, () => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

type Outcome = { readonly isClean: boolean; readonly report: string };

function schemathesis(origin: string, more: readonly string[] = []): Promise<Outcome> {
  const program = join(pythonPrograms('requirements-openapi.txt'), 'schemathesis');
  const args = [
    '--config-file',
    CONFIG,
    'run',
    `${origin}/openapi.json`,
    '--checks',
    'all',
    '--no-color',
    '-n',
    EXAMPLES,
    ...more,
  ];
  return new Promise((resolve) => {
    execFile(program, args, (error, report) => resolve({ isClean: error === null, report }));
  });
}

describe('the OpenAPI document', () => {
  const scope = scopeOf();
  let server: Server;
  let origins: Readonly<Record<string, string>>;
  let apiKey: string;

  before(async () => {
    const place = await createPlace(scope);
    const generous = { audiences: [], audiencePatterns: ['**'], maxTtl: '24h', multipleAudiences: true };
    const rules = [ruleFor({ ...generous, principalTags: { team: 'payments' } })];
    const client = { id: 'shop', redirectUris: ['https://shop.example.com/'] };
    const vultr = { clients: [client], wrongKeysPerMinute: 10_000 };
    writeConfig(place, { rules, doors: { fly: {}, vultr } });
    server = await start(scope, place);
    apiKey = (await mintmark(['api-keys', 'add', 'test', '--admin', place.admin])).stdout.trim();
    origins = {
      workload: await forward(scope, place.socket),
      admin: await forward(scope, place.admin),
      public: place.issuer,
      status: server.status,
    };
  });

  for (const surface of ['workload', 'public', 'status', 'admin'])
    it(`of the ${surface} listener is true`, async (t) => {
      if (isMissing(t, hasProgram('python3'), 'there is no python3')) return;
      const origin = origins[surface] ?? '';
      const { paths } = (await ask(origin, '/openapi.json')).json<{ paths: Record<string, object> }>();
      const operations = Object.values(paths).flatMap((path) => Object.keys(path));
      const { isClean, report } = await schemathesis(origin, ['--header', `Authorization: Bearer ${apiKey}`]);
      assert.ok(isClean, report);
      assert.match(report, new RegExp(`Tested: ${operations.length}\\b`));
      assert.doesNotMatch(report, /\b0 generated/);
    });

  it('of the AWS door is true', async (t) => {
    if (isMissing(t, hasProgram('python3'), 'there is no python3')) return;
    const place = await createPlace(scope);
    const iam = iamSettings(place);
    configure(place, { door: { iam, registrations: { perAddress: 1_000_000 } } });
    const { issuer, lines } = await start(scope, place);
    const own = '^/(client/register|device_authorization|token|authorize)$';
    const { isClean, report } = await schemathesis(issuer, ['--include-path-regex', own]);
    assert.ok(isClean, report);
    assert.match(report, /Tested: 4\b/);
    const faults = lines().filter(({ code, level }) => code === 'server_error' || level === 'error');
    assert.deepEqual(faults, []);
  });

  it('told of everything that happened: no fault of our own', () => {
    assert.deepEqual(
      server.lines().filter(({ code, level }) => code === 'server_error' || level === 'error'),
      [],
    );
  });
});
