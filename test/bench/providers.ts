/**
 * What providers of the Vultr door cost: the time to make one, and the memory of COUNT (1000) of which each has
 * exchanged a token. Prints a table: `node test/bench/providers.ts`.
 */
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { SignJWT } from 'jose';
import type { Scope } from '../system/start.ts';
import { type Api, EXCHANGE, JWT_TYPE, startVultr } from '../vultr/api.ts';

const COUNT = Number(process.env.COUNT ?? 1000);
/** Between two, so that spare keys are there. */
const PAUSE_MS = 1000;
const IDP = 'https://idp.example.com';

function rssAnonKiB(pid: number): number {
  return Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

async function main(scope: Scope): Promise<void> {
  const directory = `/tmp/mintmark-bench-${process.pid}`;
  const api = await startVultr(scope, {}, { keys: { store: { file: directory } } });
  await sleep(5000);
  const quick = await times(10, async () => {
    await sleep(PAUSE_MS);
    return timed(() => api.create('quick'));
  });
  const exchange = await exchanger(api);
  await exchange(await api.create('first'));
  await sleep(2000);
  const before = rssAnonKiB(api.pid);
  const ids: string[] = [];
  const steady = await times(COUNT, () => timed(async () => ids.push(await api.create('many'))));
  const made = rssAnonKiB(api.pid);
  for (const id of ids) await exchange(id);
  const used = rssAnonKiB(api.pid);
  const again = await times(200, (index) => timed(() => exchange(ids[(index * 7) % COUNT] ?? '')));
  await sleep(10_000);
  const rows: readonly (readonly [string, string])[] = [
    ['make one, spare keys there (median, most)', `${median(quick)} ms, ${Math.max(...quick)} ms`],
    [`make ${COUNT} one after the other (median each)`, `${median(steady)} ms`],
    ['RssAnon with 11', `${before} KiB`],
    [`RssAnon with ${COUNT} more`, `${made} KiB: ${Math.round((made - before) / COUNT)} KiB each`],
    ['... each used once', `${used} KiB: ${Math.round((used - before) / COUNT)} KiB each`],
    ['... 10 s later', `${rssAnonKiB(api.pid)} KiB`],
    ['exchange at one that was dropped (median)', `${median(again)} ms`],
  ];
  for (const [name, value] of rows) process.stdout.write(`${name.padEnd(48)} ${value}\n`);
}

async function exchanger(api: Api): Promise<(id: string) => Promise<void>> {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwk = publicKey.export({ format: 'jwk' });
  await api.call('POST', '/issuer', { uri: IDP, kid: 'k', alg: 'RS256', ...jwk });
  return async (id) => {
    const token = await new SignJWT({ sub: 'job' })
      .setProtectedHeader({ alg: 'RS256', kid: 'k' })
      .setIssuer(IDP)
      .setAudience(`${api.base}/provider/${id}`)
      .setExpirationTime('5m')
      .sign(privateKey);
    const fields = { grant_type: EXCHANGE, subject_token: token, subject_token_type: JWT_TYPE };
    const { status, body } = await api.call('POST', `/provider/${id}/token`, fields);
    if (status !== 201) throw new Error(JSON.stringify(body));
  };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return Math.round((performance.now() - begun) * 10) / 10;
}

async function times<T>(count: number, work: (index: number) => Promise<T>): Promise<readonly T[]> {
  const all: T[] = [];
  for (let index = 0; index < count; index++) all.push(await work(index));
  return all;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

const cleaning: (() => Promise<void>)[] = [];
await main({ after: (clean) => void cleaning.push(clean) }).finally(() =>
  Promise.all(cleaning.map((clean) => clean())),
);
