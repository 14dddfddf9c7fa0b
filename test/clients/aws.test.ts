/** The AWS SDK for JavaScript as it is, told nothing but the variables that Mintmark writes into aws.env. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { decode } from '../system/ask.ts';
import {
  createPlace,
  defer,
  type Place,
  ruleFor,
  type Server,
  start,
  until,
  writeConfig,
} from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { type Sts, startSts } from './aws/sts.ts';

const WHOAMI = fileURLToPath(new URL('aws/whoami.ts', import.meta.url));
const AWS = 'sts.amazonaws.com';
const ROLE = 'arn:aws:iam::123456789012:role/web';

type Identity = { readonly arn?: string; readonly error?: string; readonly message?: string };

describe('an AWS SDK that reads a token file', () => {
  const scope = scopeOf();
  let place: Place;
  let server: Server;
  let sts: Sts;
  let whoAmI: () => Promise<Identity>;

  const tokenFile = () => join(place.directory, 'run', 'oidc_token');

  before(async () => {
    place = await createPlace(scope);
    writeConfig(place, { rules: [ruleFor({ audiences: [AWS] })] });
    server = await start(scope, place, { env: { AWS_ROLE_ARN: ROLE } });
    const { issuer } = place;
    sts = await startSts(scope, { issuer, clientId: AWS, role: ROLE, subject: 'acme:web:web-1' });
    const variables = readFileSync(join(place.directory, 'run', 'aws.env'), 'utf8')
      .trim()
      .split('\n');
    const env = {
      PATH: process.env.PATH,
      HOME: place.directory,
      AWS_REGION: 'us-east-1',
      AWS_ENDPOINT_URL_STS: sts.origin,
      ...Object.fromEntries(variables.map((line) => line.split('=', 2))),
    };
    const program = spawn(process.execPath, [WHOAMI], { env, stdio: ['pipe', 'pipe', 'inherit'] });
    defer(scope, () => void program.kill());
    const answers = createInterface({ input: program.stdout })[Symbol.asyncIterator]();
    whoAmI = async () => {
      program.stdin.write('\n');
      return JSON.parse((await answers.next()).value ?? '{}');
    };
  });

  it('takes on the role, by a token that verifies with the published keys', async () => {
    assert.equal((await whoAmI()).arn, 'arn:aws:sts::123456789012:assumed-role/web/web-1');
    const { jti } = decode(readFileSync(tokenFile(), 'utf8')).claims;
    assert.deepEqual([...new Set(sts.taken.map((payload) => payload.jti))], [jti]);
  });

  it('finds the fresh token when its credentials run out', async () => {
    const { jti } = decode(readFileSync(tokenFile(), 'utf8')).claims;
    server.signal('SIGHUP');
    const fresh = await until(() => {
      const now = decode(readFileSync(tokenFile(), 'utf8')).claims.jti;
      return now === jti ? undefined : now;
    }, 'another token');
    assert.equal((await whoAmI()).arn, 'arn:aws:sts::123456789012:assumed-role/web/web-1');
    assert.equal(sts.taken.at(-1)?.jti, fresh);
  });

  it('is refused once a rule names another subject', async () => {
    const { jti } = decode(readFileSync(tokenFile(), 'utf8')).claims;
    writeConfig(place, { rules: [ruleFor({ audiences: [AWS], subject: 'acme:batch' })] });
    server.signal('SIGHUP');
    await until(() => decode(readFileSync(tokenFile(), 'utf8')).claims.jti !== jti, 'another token');
    const { arn, error } = await whoAmI();
    assert.deepEqual([arn, error], [undefined, 'AccessDenied']);
  });
});
