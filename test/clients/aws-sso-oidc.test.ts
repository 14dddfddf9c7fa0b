/** boto3 and the AWS CLI sign a person in, told nothing but the endpoint. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { before, suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { decodeJwt } from 'jose';
import {
  ACCESS_KEY,
  APPLICATION,
  addAda,
  allow,
  approve,
  configure,
  iamSettings,
  START_URL,
} from '../aws-sso-oidc/server.ts';
import { isMissing } from '../stores/requires.ts';
import { createPlace, defer, type Server, start } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { hasProgram, pythonPrograms } from './cache.ts';

const PROGRAM = fileURLToPath(new URL('python/sso_oidc.py', import.meta.url));
const DAY = 86_400;

type Refused = Readonly<Record<string, unknown>>;

/** aws-cli of version 2, which no package index has: tried where there is one. */
type Cli = { readonly program: string; readonly minor: number };

/** Version 2 of the AWS CLI; one of version 1 may stand before it. */
function findCli(): Cli | undefined {
  for (const program of ['aws', '/usr/bin/aws']) {
    if (program === 'aws' ? !hasProgram('aws') : !existsSync(program)) continue;
    const [, minor] =
      /^aws-cli\/2\.(\d+)\./.exec(execFileSync(program, ['--version'], { encoding: 'utf8' })) ?? [];
    if (minor !== undefined) return { program, minor: Number(minor) };
  }
  return undefined;
}

/** Before 2.13 an endpoint is changed by what botocore reads below ~/.aws/models. */
function changeEndpoint(home: string, url: string): void {
  const directory = join(home, '.aws/models/sso-oidc/2019-06-10');
  const text = (builtIn: string) => ({ builtIn, required: false, documentation: '', type: 'String' });
  const parameters = { Region: text('AWS::Region'), Endpoint: text('SDK::Endpoint') };
  const rule = { conditions: [], endpoint: { url, properties: {}, headers: {} }, type: 'endpoint' };
  mkdirSync(directory, { recursive: true });
  writeFileSync(
    join(directory, 'endpoint-rule-set-1.json'),
    JSON.stringify({ version: '1.0', parameters, rules: [rule] }),
  );
}

suite('clients of IAM Identity Center OIDC', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let server: Server;
  before(async () => {
    const place = await createPlace(scope);
    configure(place, { door: { iam: iamSettings(place) } });
    server = await start(scope, place);
    await addAda(place);
  });

  function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env) {
    const child: ChildProcess = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], env });
    defer(scope, () => child.kill('SIGKILL'));
    const lines = createInterface({ input: child.stdout ?? assert.fail() });
    return { child, lines, ended: new Promise((resolve) => child.on('exit', resolve)) };
  }
  async function told<T>(lines: AsyncIterator<string>): Promise<T> {
    const { value } = await lines.next();
    return JSON.parse(value ?? '{}');
  }

  test('boto3', async (t) => {
    if (isMissing(t, hasProgram('python3'), 'there is no python3')) return;
    const python = join(pythonPrograms('requirements-aws.txt'), 'python');
    const { accessKeyId, secretAccessKey } = ACCESS_KEY;
    const { child, lines, ended } = run(python, [
      PROGRAM,
      server.issuer,
      accessKeyId,
      secretAccessKey,
      APPLICATION,
    ]);
    const said = lines[Symbol.asyncIterator]();
    assert.deepEqual(await told(said), { lifetime: 90 * DAY });
    const {
      pending,
      wrong,
      scope: scoped,
      url,
    } = await told<{ pending: Refused; wrong: Refused; scope: Refused; url: string }>(said);
    const refused = (code: string, status: number, error: string) => ({ code, isNamed: true, status, error });
    const outcome = ({ description, reason, ...rest }: Refused) => {
      assert.ok(String(description).length > 4);
      return rest;
    };
    assert.deepEqual([pending, wrong, scoped].map(outcome), [
      refused('AuthorizationPendingException', 400, 'authorization_pending'),
      refused('InvalidClientException', 401, 'invalid_client'),
      refused('InvalidScopeException', 400, 'invalid_scope'),
    ]);
    await approve(url);
    child.stdin?.write('\n');
    const { first, second, idToken, tokenType, expiresIn, replay } = await told<
      Record<'first' | 'second' | 'idToken' | 'tokenType', string> & { expiresIn: number; replay: Refused }
    >(said);
    assert.equal(decodeJwt(first).sub, decodeJwt(second).sub);
    assert.equal(decodeJwt(idToken).sub, decodeJwt(second).sub);
    assert.deepEqual({ tokenType, expiresIn }, { tokenType: 'Bearer', expiresIn: 3600 });
    assert.deepEqual(outcome(replay), refused('InvalidGrantException', 400, 'invalid_grant'));
    const { assertion, forged } = await told<{ assertion: Refused; forged: Refused }>(said);
    assert.deepEqual(outcome(assertion), refused('InvalidGrantException', 400, 'invalid_grant'));
    assert.equal(forged.reason, 'SignatureDoesNotMatch');
    assert.deepEqual(outcome(forged), refused('AccessDeniedException', 400, 'access_denied'));
    assert.equal(await ended, 0);
  });

  /** The first line that has an address of ours with a query. */
  async function addressIn(lines: Interface): Promise<string> {
    for await (const line of lines) {
      const [found] = new RegExp(`${server.issuer}/\\S*\\?\\S+`).exec(line) ?? [];
      if (found !== undefined) return found;
    }
    return assert.fail('the CLI told no address');
  }

  for (const way of ['authorization code', 'device code'])
    test(`aws sso login, ${way}`, async (t) => {
      const cli = findCli();
      if (cli === undefined) return t.skip('there is no aws-cli of version 2');
      const hasCode = cli.minor >= 22;
      if (way === 'authorization code' && !hasCode) return t.skip('aws-cli has this since 2.22');
      const home = join(server.directory, way.replace(' ', '-'));
      mkdirSync(join(home, '.aws'), { recursive: true });
      writeFileSync(
        join(home, '.aws', 'config'),
        [
          '[profile acme]',
          'sso_session = acme',
          'sso_account_id = 123456789012',
          'sso_role_name = reader',
          'region = eu-central-1',
          '[sso-session acme]',
          'sso_region = eu-central-1',
          `sso_start_url = ${START_URL}`,
          'sso_registration_scopes = sso:account:access,openid',
          '',
        ].join('\n'),
      );
      const env = { PATH: process.env.PATH, HOME: home, AWS_ENDPOINT_URL_SSO_OIDC: server.issuer };
      if (cli.minor < 13) changeEndpoint(home, server.issuer);
      const device = way === 'device code' && hasCode ? ['--use-device-code'] : [];
      const { lines, ended } = run(
        cli.program,
        ['sso', 'login', '--profile', 'acme', '--no-browser', ...device],
        env,
      );
      const url = await addressIn(lines);
      if (way === 'device code') await approve(url);
      else {
        const back = new URL(url).searchParams.get('redirect_uri') ?? '';
        assert.equal((await fetch((await allow(url, back)).url)).status, 200);
      }
      assert.equal(await ended, 0);
      const cache = join(home, '.aws', 'sso', 'cache');
      const kept = readdirSync(cache).map((name) => JSON.parse(readFileSync(join(cache, name), 'utf8')));
      const { accessToken, refreshToken } =
        kept.find((one) => one.accessToken !== undefined) ?? assert.fail();
      assert.equal(decodeJwt(accessToken).iss, server.issuer);
      assert.match(String(decodeJwt(accessToken).scope), /sso:account:access/);
      assert.ok(refreshToken);
    });
});
