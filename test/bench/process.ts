/** How soon the program is there, and what it keeps of the memory. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type MintmarkOptions, privateMiB, type Workshop } from './program.ts';
import { type Figure, median } from './report.ts';
import { FLAT_MIB, IDLE_MS, MANY, STARTS, STEPS, TOKENS, tell } from './settings.ts';
import { runTokens } from './tokens.ts';

/** From exec to the first token in hand, key ring, log and listeners included. */
export async function measureStart(workshop: Workshop): Promise<readonly Figure[]> {
  const start = async (name: string, options: MintmarkOptions, most?: number): Promise<Figure> => {
    tell(`start, ${name}`);
    const times: number[] = [];
    for (let round = 0; round <= STARTS; round++) {
      const mintmark = await workshop.startMintmark(options);
      await mintmark.stop();
      if (round > 0) times.push(mintmark.firstTokenMs); // the first one makes keys and fills the cache
    }
    return {
      name: `exec to first token, ${name}`,
      value: median(times),
      unit: 'ms',
      ...(most === undefined ? {} : { target: { of: 'value', most } }),
    };
  };
  return [
    await start('from the second start on', {}, 250),
    await start('no compile cache', { compileCache: 'none' }),
    await start('new keys (store in memory)', { store: 'memory' }, 250),
  ];
}

export async function measureMemory(workshop: Workshop): Promise<readonly Figure[]> {
  tell(`memory, ${TOKENS} tokens`);
  const mintmark = await workshop.startMintmark();
  await sleep(IDLE_MS);
  const idle = privateMiB(mintmark.pid);
  const after: number[] = [];
  for (let step = 0; step < STEPS; step++) {
    await runTokens(mintmark, 'ES256', { connections: MANY, count: TOKENS / STEPS });
    after.push(privateMiB(mintmark.pid));
  }
  await sleep(IDLE_MS);
  const rested = privateMiB(mintmark.pid);
  await mintmark.stop();
  const last = after.at(-1) ?? Number.NaN;
  const growth = last - (after[STEPS / 2 - 1] ?? Number.NaN);
  const count = TOKENS.toLocaleString('en');
  return [
    { name: 'private memory, idle', value: idle, unit: 'MiB', target: { of: 'value', most: 28 } },
    {
      name: `private memory after ${count} tokens`,
      value: last,
      unit: 'MiB',
      target: { of: 'value', most: 64 },
    },
    ...after.map((value, index) => ({
      name: `  after ${((TOKENS / STEPS) * (index + 1)).toLocaleString('en')}`,
      value,
      unit: 'MiB',
    })),
    {
      name: '  growth over the second half',
      value: growth,
      unit: 'MiB',
      target: { of: 'value', most: FLAT_MIB },
    },
    { name: '  3 s later', value: rested, unit: 'MiB' },
  ];
}
