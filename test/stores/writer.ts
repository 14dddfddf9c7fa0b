/** A process that writes the document "ring" again and again until it is killed; says each version once it is durable. */
import { writeSync } from 'node:fs';
import { open } from '../../src/stores/file.ts';
import { storeContext } from './context.ts';

const store = await open(process.argv[2]!, storeContext());
let version = (await store.read('ring'))?.version;
writeSync(1, `open ${version}\n`);
for (;;) {
  const next = Number(version ?? 0) + 1;
  version = await store.write('ring', Buffer.alloc(20_000, `${next} `), version);
  writeSync(1, `wrote ${version}\n`);
}
