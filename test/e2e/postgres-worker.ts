/** Run as a process of its own by postgres.test.ts: opens both stores on the URL. */
import * as v from 'valibot';
import { config, open } from '../../src/stores/postgres.ts';
import { open as openRecords } from '../../src/stores/postgres-records.ts';

const block = v.parse(config, { url: process.argv[2] });
const stores = await Promise.all([open(block, { warn: console.error }), openRecords(block)]);
for (const store of stores) await store.close();
