/** client_credentials at the token endpoint, beside oidc-provider's own grant and the raw signature. */
import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import { ask, buildRequest, type LoadResult, runLoad, type Target } from './load.ts';
import { audienceOf, type Mintmark, type Program, type Workshop } from './program.ts';
import { ALGORITHMS, generateKey, type RawAlgorithm, signInPool, signInThreads } from './raw-signatures.ts';
import type { Figure } from './report.ts';
import { JWKS, MANY, ROUNDS, SECONDS, tell, WARM_UP_SECONDS } from './settings.ts';
import { latencies } from './tokens.ts';
import { inTurns, type Measured, rate, ratio } from './turns.ts';

const SECRET = 'a secret of the bench';
const SCOPES = ['orders.read', 'orders.write'];
/** Right behind the token, whose last bytes are of its signature. */
const AFTER_TOKEN = '","expires_in"';

const resourceOf = (algorithm: string) => `https://${audienceOf(algorithm)}`;

const DOORS = {
  fly: {},
  oauth: {
    accessTokenTtl: '10m',
    resources: ALGORITHMS.map((algorithm) => ({
      audience: resourceOf(algorithm),
      scopes: SCOPES,
      algorithm,
    })),
    clients: [
      {
        id: 'bench',
        secrets: [`sha256:${createHash('sha256').update(SECRET).digest('base64url')}`],
        grants: ['client_credentials'],
        scopes: SCOPES,
      },
    ],
  },
};

export async function measureOAuth(workshop: Workshop): Promise<readonly Figure[]> {
  const mintmark = await workshop.startMintmark({ doors: DOORS });
  const provider = await workshop.startProvider();
  await assertAlike(mintmark.publicTarget, provider.target);
  const figures: Figure[] = [];
  for (const algorithm of ALGORITHMS) {
    tell(`client_credentials, ${algorithm}`);
    figures.push(...(await measureAlgorithm(algorithm, mintmark, provider)));
  }
  await Promise.all([mintmark.stop(), provider.stop()]);
  return figures;
}

async function measureAlgorithm(algorithm: RawAlgorithm, mintmark: Mintmark, provider: Program) {
  const key = generateKey(algorithm);
  const ours = (seconds: number) => runGrants(mintmark, algorithm, seconds);
  const theirs = (seconds: number) => load('/token', provider.target, algorithm, seconds);
  await ours(WARM_UP_SECONDS);
  await theirs(WARM_UP_SECONDS);
  const rounds = await inTurns(ROUNDS, {
    pool: () => signInPool(key, SECONDS / 2),
    threads: () => signInThreads(key, availableParallelism(), SECONDS / 2),
    theirs: () => theirs(SECONDS),
    ours: () => ours(SECONDS),
  });
  const name = `client_credentials ${algorithm}, ${MANY} connections`;
  const raw: readonly Measured[] = rounds.pool.map(({ perSecond }, index) => ({
    perSecond: Math.max(perSecond, rounds.threads[index]?.perSecond ?? 0),
  }));
  const beside = (reference: string, other: readonly Measured[]): Figure => ({
    name,
    value: rate(rounds.ours),
    unit: '/s',
    reference: { name: reference, value: rate(other) },
    ratio: ratio(rounds.ours, other),
  });
  return [
    { ...beside('bare oidc-provider', rounds.theirs), target: { of: 'ratio', least: 1 } } as const,
    beside('raw', raw),
    ...latencies(name, rounds.ours, ['bare oidc-provider', rounds.theirs]),
  ];
}

function requestFor(path: string, algorithm: RawAlgorithm): Buffer {
  const form = new URLSearchParams({
    grant_type: 'client_credentials',
    scope: SCOPES.join(' '),
    resource: resourceOf(algorithm),
  });
  const basic = Buffer.from(`bench:${encodeURIComponent(SECRET)}`).toString('base64');
  return buildRequest('POST', path, form.toString(), [`Authorization: Basic ${basic}`]);
}

function load(path: string, target: Target, algorithm: RawAlgorithm, seconds: number): Promise<LoadResult> {
  return runLoad({
    target,
    request: requestFor(path, algorithm),
    connections: MANY,
    seconds,
    distinct: AFTER_TOKEN,
  });
}

/** The samples are verified. */
async function runGrants(
  { publicTarget }: Mintmark,
  algorithm: RawAlgorithm,
  seconds: number,
): Promise<LoadResult> {
  const result = await load('/connect/token', publicTarget, algorithm, seconds);
  const keys = createLocalJWKSet(JSON.parse(await ask(publicTarget, JWKS)));
  const expected = {
    issuer: 'https://id.example.com',
    audience: resourceOf(algorithm),
    algorithms: [algorithm],
    typ: 'at+jwt',
  };
  for (const sample of result.samples) await jwtVerify(JSON.parse(sample).access_token, keys, expected);
  return result;
}

/** Both give the same: a token with as many claims, by the same algorithm. Throws where they do not. */
async function assertAlike(ours: Target, theirs: Target): Promise<void> {
  for (const algorithm of ALGORITHMS) {
    const [a, b] = await Promise.all([
      shapeOf(await ask(ours, requestFor('/connect/token', algorithm))),
      shapeOf(await ask(theirs, requestFor('/token', algorithm))),
    ]);
    if (a !== b) throw new Error(`the two grants differ: ${a} and ${b}`);
  }
}

function shapeOf(answer: string): string {
  const { access_token: token } = JSON.parse(answer);
  const claims = decodeJwt(token);
  const life = Number(claims.exp) - Number(claims.iat);
  return `${decodeProtectedHeader(token).alg} ${life} s: ${Object.keys(claims).sort().join(' ')}`;
}
