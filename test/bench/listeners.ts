/** What the public listener answers, and what it costs to prove who is calling. */
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { ask, runLoad } from './load.ts';
import type { Mintmark, Workshop } from './program.ts';
import type { Figure } from './report.ts';
import { JWKS, MANY, ROUNDS, SECONDS, tell } from './settings.ts';
import { latencies, runTokens } from './tokens.ts';
import { inTurns, type Measured, p50, rate, ratio } from './turns.ts';

export async function measureJwks(workshop: Workshop): Promise<readonly Figure[]> {
  tell('JWKS');
  const mintmark = await workshop.startMintmark();
  const body = await ask(mintmark.publicTarget, JWKS);
  const bare = await workshop.startHttp(body);
  const load = { request: JWKS, connections: MANY, seconds: SECONDS };
  const rounds = await inTurns(ROUNDS, {
    bare: () => runLoad({ target: bare.target, ...load }),
    jwks: () => runLoad({ target: mintmark.publicTarget, ...load }),
  });
  await Promise.all([mintmark.stop(), bare.stop()]);
  return [
    {
      name: `JWKS, ${MANY} connections`,
      value: rate(rounds.jwks),
      unit: '/s',
      reference: { name: `node:http ${body.length} B`, value: rate(rounds.bare) },
      ratio: ratio(rounds.jwks, rounds.bare),
    },
    ...latencies(`JWKS, ${MANY} connections`, rounds.jwks, ['node:http', rounds.bare]),
  ];
}

/** The same tokens under rules that ask for more and more of the caller. */
export async function measureAttestation(workshop: Workshop): Promise<readonly Figure[]> {
  tell('attestation');
  const uid = `unix:uid:${process.getuid?.()}`;
  const path = `unix:path:${readlinkSync('/proc/self/exe')}`;
  const executable = readFileSync('/proc/self/exe');
  const sha256 = `unix:sha256:${createHash('sha256').update(executable).digest('hex')}`;
  const [byUid, byPath, byHash] = [
    await workshop.startMintmark({ match: [uid], store: 'memory' }),
    await workshop.startMintmark({ match: [uid, path], store: 'memory' }),
    await workshop.startMintmark({ match: [uid, path, sha256], store: 'memory' }),
  ];
  const mint = (mintmark: Mintmark) => () =>
    runTokens(mintmark, 'ES256', { connections: 1, seconds: SECONDS / 2 });
  const rounds = await inTurns(ROUNDS, { byUid: mint(byUid), byPath: mint(byPath), byHash: mint(byHash) });
  await Promise.all([byUid.stop(), byPath.stop(), byHash.stop()]);
  const reference = { name: 'unix:uid only', value: p50(rounds.byUid) };
  const figure = (name: string, of: readonly Measured[], value = p50(of)): Figure => ({
    name: `ES256, 1 connection, p50 by ${name}`,
    value,
    unit: 'ms',
    reference,
    ratio: value / reference.value,
  });
  return [
    figure('unix:uid', rounds.byUid),
    figure('unix:path', rounds.byPath),
    figure('unix:sha256', rounds.byHash),
    {
      name: `first token of an executable of ${Math.round(executable.length / 2 ** 20)} MiB by unix:sha256`,
      value: byHash.firstAnswerMs,
      unit: 'ms',
      reference: { name: 'by unix:path', value: byPath.firstAnswerMs },
    },
  ];
}
