import { randomBytes } from 'node:crypto';
import { open } from '../../src/stores/memory.ts';
import { sealStore } from '../../src/stores/sealed.ts';
import { keyStoreSuite } from '../conformance/key-store.ts';

keyStoreSuite('memory', open);
keyStoreSuite('sealed in memory', async () =>
  sealStore(await open(), randomBytes(32), 'https://id.example.com'),
);
