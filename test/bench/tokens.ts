/** Tokens a second and their latency, beside the raw signature and a bare Koa. */
import { availableParallelism } from 'node:os';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { ask, buildRequest, type LoadResult, runLoad } from './load.ts';
import { audienceOf, type Mintmark, type Program, type Workshop } from './program.ts';
import { ALGORITHMS, generateKey, type RawAlgorithm, signInPool, signInThreads } from './raw-signatures.ts';
import type { Figure } from './report.ts';
import { JWKS, MANY, ROUNDS, requestFor, SECONDS, tell, WARM_UP_SECONDS } from './settings.ts';
import { inTurns, type Measured, p50, p99, rate, ratio } from './turns.ts';

export async function measureTokens(workshop: Workshop): Promise<readonly Figure[]> {
  const mintmark = await workshop.startMintmark();
  const koa = await workshop.startKoa();
  const figures: Figure[] = [];
  await runTokens(mintmark, 'ES256', { connections: MANY, seconds: WARM_UP_SECONDS });
  for (const algorithm of ALGORITHMS) {
    tell(`${algorithm} tokens`);
    figures.push(...(await measureAlgorithm(algorithm, mintmark, koa)));
  }
  await Promise.all([mintmark.stop(), koa.stop()]);
  return figures;
}

async function measureAlgorithm(algorithm: RawAlgorithm, mintmark: Mintmark, koa: Program) {
  const { length } = await ask(mintmark.target, requestFor(algorithm));
  const body = JSON.stringify({ aud: audienceOf(algorithm) });
  const key = generateKey(algorithm);
  const cores = availableParallelism();
  const mint = (connections: number) => runTokens(mintmark, algorithm, { connections, seconds: SECONDS });
  const bare = (path: string, connections: number) =>
    runLoad({ target: koa.target, request: buildRequest('POST', path, body), connections, seconds: SECONDS });
  const rounds = await inTurns(ROUNDS, {
    pool: () => signInPool(key, SECONDS / 2),
    threads: () => signInThreads(key, cores, SECONDS / 2),
    one: () => signInThreads(key, 1, SECONDS / 4),
    bareMany: () => bare(`/${length}`, MANY),
    signMany: () => bare(`/${algorithm}`, MANY),
    mintMany: () => mint(MANY),
    bareOne: () => bare(`/${length}`, 1),
    mintOne: () => mint(1),
  });
  const raw = rounds.pool.map(({ perSecond }, index) => ({
    perSecond: Math.max(perSecond, rounds.threads[index]?.perSecond ?? 0),
  }));
  return figuresOf(algorithm, length, { ...rounds, raw });
}

type Rounds = Readonly<
  Record<'raw' | 'one' | 'bareMany' | 'signMany' | 'mintMany' | 'bareOne' | 'mintOne', readonly Measured[]>
>;

function figuresOf(algorithm: RawAlgorithm, bytes: number, rounds: Rounds): readonly Figure[] {
  const { raw, one, bareMany, signMany, mintMany, bareOne, mintOne } = rounds;
  const isRsa = algorithm === 'RS256';
  return [
    {
      name: `${algorithm} raw signatures, all cores`,
      value: rate(raw),
      unit: '/s',
      reference: { name: 'one core', value: rate(one) },
    },
    {
      name: `${algorithm} by a bare Koa that does nothing but sign, ${MANY} connections`,
      value: rate(signMany),
      unit: '/s',
      reference: { name: 'raw', value: rate(raw) },
      ratio: ratio(signMany, raw),
    },
    {
      name: `${algorithm} tokens, ${MANY} connections`,
      value: rate(mintMany),
      unit: '/s',
      reference: { name: 'raw', value: rate(raw) },
      ratio: ratio(mintMany, raw),
      ...(isRsa ? { target: { of: 'ratio', least: 0.8 } } : {}),
    },
    {
      name: `${algorithm} tokens, ${MANY} connections`,
      value: rate(mintMany),
      unit: '/s',
      reference: { name: `Koa ${bytes} B`, value: rate(bareMany) },
      ratio: ratio(mintMany, bareMany),
      ...(isRsa ? {} : { target: { of: 'ratio', least: 0.3 } }),
    },
    ...latencies(`${algorithm} tokens, ${MANY} connections`, mintMany, ['Koa', bareMany]),
    {
      name: `${algorithm} tokens, 1 connection`,
      value: rate(mintOne),
      unit: '/s',
      reference: { name: `Koa ${bytes} B`, value: rate(bareOne) },
      ratio: ratio(mintOne, bareOne),
    },
    ...latencies(`${algorithm} tokens, 1 connection`, mintOne, ['Koa', bareOne], isRsa ? 0.8 : 0.35),
  ];
}

export function latencies(
  name: string,
  rounds: readonly Measured[],
  [beside, besideRounds]: readonly [string, readonly Measured[]],
  most?: number,
): readonly Figure[] {
  return [
    {
      name: `${name}, p50`,
      value: p50(rounds),
      unit: 'ms',
      reference: { name: beside, value: p50(besideRounds) },
      ...(most === undefined ? {} : { target: { of: 'value', most } }),
    },
    {
      name: `${name}, p99`,
      value: p99(rounds),
      unit: 'ms',
      reference: { name: beside, value: p99(besideRounds) },
    },
  ];
}

/** Tokens under load, each another one; the samples are verified. */
export async function runTokens(
  mintmark: Mintmark,
  algorithm: RawAlgorithm,
  plan: { readonly connections: number; readonly seconds?: number; readonly count?: number },
): Promise<LoadResult> {
  const request = requestFor(algorithm);
  const result = await runLoad({ target: mintmark.target, request, distinct: true, ...plan });
  const keys = createLocalJWKSet(JSON.parse(await ask(mintmark.publicTarget, JWKS)));
  const expected = {
    issuer: 'https://id.example.com',
    audience: audienceOf(algorithm),
    algorithms: [algorithm],
  };
  for (const token of result.samples) await jwtVerify(token, keys, expected);
  return result;
}
