/** How `mintmark keys list` tells times that the issuer has by a clock of its own. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { suite, test } from 'node:test';
import { createPlace, mintmark } from '../system/start.ts';

const PUBLISHED = 1_790_000_000;
const DAY = 86_400;

suite('keys list', () => {
  test('times stay as they are while the clocks differ by what rounding makes, and move with a jump', async (t) => {
    const place = await createPlace(t);
    let behind = 0;
    const key = {
      keyId: 'k',
      algorithm: 'RS256',
      state: 'active',
      publishedAt: PUBLISHED,
      activatedAt: PUBLISHED,
    };
    const settings = {
      rotateEverySeconds: DAY,
      publishAtLeastSeconds: 1,
      cacheForSeconds: 1,
      algorithms: ['RS256'],
    };
    const server = createServer((_, response) => {
      const now = Math.floor(Date.now() / 1000) - behind;
      response
        .setHeader('Content-Type', 'application/json')
        .end(JSON.stringify({ now, settings, keys: [key] }));
    });
    await new Promise<void>((done) => server.listen(place.admin, done));
    t.after(() => server.close());
    const rotation = async (seconds: number) => {
      behind = seconds;
      const { stdout, stderr } = await mintmark(['keys', 'list', '--admin', place.admin]);
      const [, time = stderr] = /rotates (\S+)/.exec(stdout) ?? [];
      return Date.parse(time) / 1000 - PUBLISHED - DAY;
    };
    assert.equal(await rotation(0), 0);
    assert.equal(await rotation(1), 0);
    assert.ok((await rotation(3600)) >= 3600);
  });
});
