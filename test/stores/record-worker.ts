/** Run as a process of its own by sqlite.test.ts: `record-worker.ts JOB FILE`. */
import { open } from '../../src/stores/sqlite.ts';

const NOW = 1_800_000_000;
const keyOf = (id: string) => ({ realm: 'acme', model: 'Code', id });

const [job = '', path = ''] = process.argv.slice(2);
const store = await open(path, { uid: process.geteuid!(), warn: console.error });

/** Inserts and consumes the same 200 as the others do; tells of those that it consumed. */
async function consume(): Promise<void> {
  const ids = Array.from({ length: 200 }, (_, n) => `c${n}`);
  const results = await Promise.all(
    ids.map(async (id) => {
      await store.insert(keyOf(id), { payload: {} }, NOW);
      return (await store.consume(keyOf(id), NOW)) ? id : undefined;
    }),
  );
  for (const id of results) if (id !== undefined) console.log(id);
}

/** Writes until it is killed; tells of each record once it is consumed. */
async function write(): Promise<void> {
  const filler = 'x'.repeat(5000);
  for (let n = 0; ; n++) {
    const id = `${process.pid}-${n}`;
    await store.upsert(keyOf(id), { payload: { begin: n, filler, end: n }, family: `${n % 7}`, uid: id });
    await store.consume(keyOf(id), NOW);
    process.stdout.write(`${id}\n`);
  }
}

await (job === 'consume' ? consume() : write());
await store.close();
